// nothing
const key = "[[sendgrid-key]]";
