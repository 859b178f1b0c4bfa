// nothing
const key = "[[google-api-key]]";
