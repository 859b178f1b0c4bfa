// nothing
const key = "[[anthropic-key]]";
