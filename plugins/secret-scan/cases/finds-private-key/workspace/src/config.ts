// nothing
const key = "[[private-key]]";
