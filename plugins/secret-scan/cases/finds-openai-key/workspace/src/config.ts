// nothing
const key = "[[openai-key]]";
