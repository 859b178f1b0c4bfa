// A caller of the Node service, as its documents taught: nothing newer is used. node legacy.mjs URL
import { createHmac, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";

const url = process.argv[2];
const secret = process.env.CLOUDRUN_CALLBACK_SECRET;
const request = {
  prompt: "hello",
  anthropicApiKey: process.env.ANTHROPIC_API_KEY,
  maxTurns: 6,
  allowedTools: ["Read"],
};

function check(holds, what) {
  if (!holds) throw new Error(JSON.stringify(what));
}

const post = (path, body) =>
  fetch(url + path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });

async function stream() {
  const response = await post("/run", request);
  check(response.headers.get("content-type").startsWith("text/event-stream"), "no stream");
  let words = null;
  for (const block of (await response.text()).split("\n\n")) {
    const field = (name) => block.split("\n").find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2);
    const data = field("data");
    if (!data) continue;
    check(field("event") !== "error", block);
    const message = JSON.parse(data);
    if (!field("event") && message.type === "result") words = message.result;
  }
  return words;
}

async function report() {
  let deliver;
  const report = new Promise((resolve) => (deliver = resolve));
  const server = createServer(async (incoming, answer) => {
    const pieces = [];
    for await (const piece of incoming) pieces.push(piece);
    const body = Buffer.concat(pieces);
    const signed = Buffer.concat([Buffer.from(`${incoming.headers["x-webhook-timestamp"]}.`), body]);
    const expected = Buffer.from(`sha256=${createHmac("sha256", secret).update(signed).digest("hex")}`);
    const shown = Buffer.from(incoming.headers["x-webhook-signature"] ?? "");
    const good = shown.length === expected.length && timingSafeEqual(shown, expected);
    answer.writeHead(good ? 200 : 401).end();
    if (good) deliver(JSON.parse(body));
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const callbackUrl = `http://127.0.0.1:${server.address().port}/hook`;
  const response = await post("/run-async", { ...request, callbackUrl, metadata: { a: "ü" } });
  check(response.status === 202, response.status);
  const accepted = await response.json();
  check(accepted.status === "pending" && accepted.logsPath, accepted);
  const got = await report;
  server.close();
  check(got.taskId === accepted.taskId && got.metadata.a === "ü", got);
  return [got.status, got.exitCode];
}

check((await (await fetch(`${url}/health`)).text()) === "ok", "health");
const words = await stream();
console.log(JSON.stringify([words, ...(await report())]));
process.exit(0);
