#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use proptest::prelude::*;

use super::*;

fn holds(text: &str, yes: &[&str]) -> bool {
    let expression = Expression::read(text).unwrap();
    let names = expression.names();
    let truth = expression.over(&|place| match yes.contains(&&*names[place]) {
        true => Truth::YES,
        false => Truth::NO,
    });
    assert!(truth == Truth::YES || truth == Truth::NO);
    truth == Truth::YES
}

#[test]
fn names_are_written_as_they_are_and_and_binds_tighter_than_or() {
    assert!(holds("shell-guard && (a || b2)", &["shell-guard", "b2"]));
    assert!(!holds("shell-guard && (a || b2)", &["shell-guard"]));
    assert!(holds("a || b && c", &["a"]));
    assert!(holds("a && b || c", &["c"]));
    assert!(!holds("!a && b", &["a", "b"]));
    assert!(holds("! ( a && b )", &["a"]));
    assert!(holds("\n\ta\n  && true && 2fa\n", &["a", "true", "2fa"]));
    assert_eq!(Expression::read("b && a || b").unwrap().names(), ["b", "a"]);
}

#[test]
fn what_is_no_expression_is_told_with_its_place() {
    for (text, expected) in [
        ("", "a plugin's name, `!` or `(` at the end"),
        ("a &&", "a plugin's name, `!` or `(` at the end"),
        ("a & b", "`&&`, `||` or the end before `& b`"),
        ("a b", "`&&`, `||` or the end before `b`"),
        ("(a || b", "`&&`, `||` or `)` at the end"),
        ("a || b)", "`&&`, `||` or the end before `)`"),
        ("a && (b c)", "`&&`, `||` or `)` before `c)`"),
        ("a == b", "`&&`, `||` or the end before `== b`"),
        ("a()", "`&&`, `||` or the end before `()`"),
        ("\"a\"", "a plugin's name, `!` or `(` before `\\\"a\\\"`"),
        ("shell_guard", "`&&`, `||` or the end before `_guard`"),
        ("A && b", "a plugin's name, `!` or `(` before `A && b`"),
        ("a &&& b", "a plugin's name, `!` or `(` before `& b`"),
        ("a || !", "a plugin's name, `!` or `(` at the end"),
        ("é", "a plugin's name, `!` or `(` before `é`"),
    ] {
        let error = Expression::read(text).unwrap_err();
        assert_eq!(error, format!("expression: expected {expected}"), "{text}");
    }
}

#[test]
fn what_makes_no_difference_is_a_mistake() {
    let sixteen: Vec<String> = (0..16).map(|n| format!("p{n}")).collect();
    let all = sixteen.join(" && ");
    Expression::read(&all).unwrap();
    for (text, words) in [
        ("a || !a".to_owned(), "whatever"),
        ("a && !a".to_owned(), "never holds"),
        (format!("({all}) || !p15 || !p0"), "expression"),
        (format!("({all}) && !p15"), "never holds"),
    ] {
        match Expression::read(&text) {
            Err(error) => assert!(error.contains(words), "{text}: {error}"),
            Ok(_) => assert!(words == "expression", "{text}"),
        }
    }
}

#[test]
fn size_members_and_depth_are_bounded() {
    let error = |text: &str| Expression::read(text).unwrap_err();
    let many: Vec<String> = (0..17).map(|n| format!("p{n}")).collect();
    assert!(error(&many.join("||")).contains("more than 16 members"));
    assert!(error(&format!("a{}", " ".repeat(1024))).contains("longer than 1024 bytes"));
    let nested = |depth: usize| format!("{}a{}", "(".repeat(depth), ")".repeat(depth));
    Expression::read(&nested(32)).unwrap();
    assert!(error(&nested(33)).contains("less than 33"));
    assert!(error(&"(".repeat(1024)).contains("less than 33"));
    assert!(error(&"!".repeat(1024)).contains("less than 33"));
    Expression::read(&format!("a{}", "||a".repeat(341))).unwrap();
    Expression::read(&format!("a{}", "&&!a".repeat(20))).unwrap_err();
}

/// An expression as the test makes it: its text, and beside it what it is in each case, found in another way.
#[derive(Clone, Debug)]
struct Made {
    text: String,
    /// A bit for each case of four names.
    table: u16,
}

fn made() -> impl Strategy<Value = Made> {
    let names = [("a", 0xAAAA), ("b-1", 0xCCCC), ("c", 0xF0F0), ("d", 0xFF00)];
    let leaf = prop::sample::select(names.to_vec()).prop_map(|(name, table)| Made {
        text: name.to_owned(),
        table,
    });
    leaf.prop_recursive(6, 40, 2, |inner| {
        let two = (inner.clone(), inner.clone(), any::<bool>());
        prop_oneof![
            inner.prop_map(|made| Made {
                text: format!("!({})", made.text),
                table: !made.table,
            }),
            two.prop_map(|(left, right, both)| match both {
                true => Made {
                    text: format!("({}) && ({})", left.text, right.text),
                    table: left.table & right.table,
                },
                false => Made {
                    text: format!("({})||({})", left.text, right.text),
                    table: left.table | right.table,
                },
            }),
        ]
    })
    .prop_filter("it fits", |made| made.text.len() <= SIZE)
}

fn of_case(expression: &Expression, case: u16) -> impl Fn(usize) -> Truth {
    let known = ["a", "b-1", "c", "d"];
    let places: Vec<usize> = expression
        .names()
        .iter()
        .map(|name| known.iter().position(|known| known == name).unwrap())
        .collect();
    move |place| match case >> places[place] & 1 {
        1 => Truth::YES,
        _ => Truth::NO,
    }
}

proptest! {
    #[test]
    fn every_case_comes_out_as_in_the_table(made in made()) {
        match Expression::read(&made.text) {
            Ok(expression) => for case in 0..16 {
                let truth = expression.over(&of_case(&expression, case));
                prop_assert_eq!(truth == Truth::YES, made.table >> case & 1 == 1, "{}", made.text);
            },
            Err(error) => {
                let constant = made.table == 0 || made.table == u16::MAX;
                prop_assert!(constant, "{}: {}", made.text, error);
            }
        }
    }

    #[test]
    fn what_is_sure_is_so_whatever_the_unknown_ones_are(made in made(), unknown in 0_u16..16, case in 0_u16..16) {
        let Ok(expression) = Expression::read(&made.text) else { return Ok(()) };
        let unknowns = of_case(&expression, unknown);
        let knowns = of_case(&expression, case);
        let truth = expression.over(&|place| match unknowns(place) {
            Truth::YES => Truth::UNKNOWN,
            _ => knowns(place),
        });
        for other in 0..16 {
            let agrees = (other ^ case) & !unknown & 0xF == 0;
            let holds = made.table >> other & 1 == 1;
            if agrees && truth.surely == u64::MAX {
                prop_assert!(holds, "{}", made.text);
            }
            if agrees && truth.maybe == 0 {
                prop_assert!(!holds, "{}", made.text);
            }
        }
    }

    #[test]
    fn nothing_that_is_written_breaks_the_reader(text in "[-a-c0!&|() \n_=\"{}é]{0,80}") {
        let _ = Expression::read(&text);
    }
}
