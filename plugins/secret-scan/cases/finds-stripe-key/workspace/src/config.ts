// nothing
const key = "[[stripe-key]]";
