//! "Did you mean …?"

/// The known name that a mistyped one most likely stands for; none where nothing is near enough to
/// be worth saying. Letter case, `-` and `_` do not count as differences.
pub(crate) fn nearest<'a>(
    typed: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    // Whoever sends a name this long did not mistype one of ours; comparing costs time by length.
    if typed.len() > 80 {
        return None;
    }
    let plain = |name: &str| name.to_ascii_lowercase().replace(['-', '_'], "");
    let typed = plain(typed);
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&typed, &plain(name)), name))
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, name)| *distance <= (name.len() / 4).clamp(1, 4))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_slip_of_the_keyboard_finds_its_name_and_another_word_finds_none() {
        let known = ["allowedTools", "prompt", "model"];
        assert_eq!(nearest("allowed_tools", known), Some("allowedTools"));
        assert_eq!(nearest("alowedTool", known), Some("allowedTools"));
        assert_eq!(nearest("promt", known), Some("prompt"));
        assert_eq!(nearest("temperature", known), None);
        assert_eq!(nearest(&"prompt".repeat(1000), known), None);
    }
}
