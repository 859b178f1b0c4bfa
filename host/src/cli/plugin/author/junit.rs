//! The report of a test run as CI systems read it.

use std::fmt::Write;
use std::time::Duration;

use super::test::Report;

/// A suite with a case for each case.
pub(super) fn report(plugin: &str, reports: &[Report], took: Duration) -> String {
    let failed = reports.iter().filter(|report| report.difference.is_some());
    let mut xml = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <testsuites>\n  <testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"0\" time=\"{:.6}\">\n",
        text(plugin),
        reports.len(),
        failed.count(),
        took.as_secs_f64()
    );
    for report in reports {
        let _ = write!(
            xml,
            "    <testcase classname=\"{}\" name=\"{}\" time=\"{:.6}\"",
            text(plugin),
            text(&report.case),
            report.time.as_secs_f64()
        );
        match &report.difference {
            None => xml.push_str("/>\n"),
            Some(difference) => {
                let _ = writeln!(
                    xml,
                    ">\n      <failure message=\"{}\">{}</failure>\n    </testcase>",
                    text(difference),
                    text(&report.log.join("\n"))
                );
            }
        }
    }
    xml.push_str("  </testsuite>\n</testsuites>\n");
    xml
}

/// Text that can stand in an attribute and in an element; what XML cannot hold is replaced.
fn text(words: &str) -> String {
    let mut escaped = String::new();
    for character in words.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\n' => escaped.push_str("&#10;"),
            '\t' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'.. => {
                escaped.push(character);
            }
            _ => escaped.push('\u{fffd}'),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_plugin_says_breaks_no_xml() {
        assert_eq!(
            text("a<b>&\"\n\u{1}é"),
            "a&lt;b&gt;&amp;&quot;&#10;\u{fffd}é"
        );
    }
}
