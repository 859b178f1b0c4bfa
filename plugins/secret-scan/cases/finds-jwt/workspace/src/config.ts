// nothing
const key = "[[jwt]]";
