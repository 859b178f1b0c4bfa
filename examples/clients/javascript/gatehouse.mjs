// A client of Gatehouse without dependencies (Node 20).
import { createHmac, randomUUID, timingSafeEqual } from "node:crypto";
import { createServer } from "node:http";

const gateway = process.env.GATEHOUSE_URL ?? "http://127.0.0.1:8080";
const apiKey = process.env.GATEHOUSE_API_KEY;
const auth = apiKey ? { authorization: `Bearer ${apiKey}` } : {};

const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const request = (prompt, more) => ({ prompt, anthropicApiKey: process.env.ANTHROPIC_API_KEY, ...more });

// Sends until there is an answer; what the gateway refuses for good is not sent again.
async function ask(path, options) {
  for (let attempt = 1; ; attempt++) {
    let failure;
    try {
      const response = await fetch(gateway + path, { ...options, headers: { ...auth, ...options.headers } });
      if (response.ok) return response;
      const { error, code } = await response.json();
      failure = new Error(`${response.status} ${code}: ${error}`);
      if (response.status < 500 && response.status !== 429) attempt = 5;
    } catch (error) {
      failure = error;
    }
    if (attempt >= 5) throw failure;
    await sleep(1000 * attempt);
  }
}

// A key of its own makes the request safe to repeat: it starts one task.
function start(path, body) {
  const headers = { "content-type": "application/json", "idempotency-key": randomUUID() };
  return ask(path, { method: "POST", headers, body: JSON.stringify(body) });
}

// Splits a stream into events; returns when the connection ends, in whatever way.
async function* events(response) {
  let event = { name: "message", data: [] };
  let rest = "";
  const decoder = new TextDecoder();
  try {
    for await (const chunk of response.body) {
      const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
      rest = lines.pop();
      for (const line of lines) {
        if (line === "") {
          if (event.data.length) yield { ...event, data: JSON.parse(event.data.join("\n")) };
          event = { name: "message", data: [] };
        } else if (line.startsWith("event: ")) event.name = line.slice(7);
        else if (line.startsWith("id: ")) event.id = line.slice(4);
        else if (line.startsWith("data: ")) event.data.push(line.slice(6));
      }
    }
  } catch (error) {
    if (!(error instanceof TypeError)) throw error; // fetch says so of connections that break
  }
}

// Runs a task and returns its report. Lines of the agent go to `each`, every one once.
async function run(prompt, each) {
  let response = await start("/run", request(prompt));
  const id = response.headers.get("x-task-id");
  for (let last = "0"; ; ) {
    for await (const event of events(response)) {
      if (event.name === "done") return event.data;
      if (event.id) {
        last = event.id;
        each(event.data);
      }
    }
    // Without `done` it was the connection that ended, not the task.
    console.error(`reconnecting after event ${last}`);
    await sleep(500);
    response = await ask(`/tasks/${id}/events`, { headers: { "last-event-id": last } });
  }
}

function isGenuine(secret, headers, body) {
  const id = headers["webhook-id"];
  const timestamp = headers["webhook-timestamp"];
  if (!(Math.abs(Date.now() / 1000 - Number(timestamp)) <= 300)) return false;
  const hmac = (key, ...parts) => createHmac("sha256", key).update(Buffer.concat(parts.map((part) => Buffer.from(part))));
  const same = (a, b) => a.length === b.length && timingSafeEqual(Buffer.from(a), Buffer.from(b));

  const key = secret.startsWith("whsec_") ? Buffer.from(secret.slice(6), "base64") : secret;
  const standard = `v1,${hmac(key, `${id}.${timestamp}.`, body).digest("base64")}`;
  const legacy = `sha256=${hmac(secret, `${headers["x-webhook-timestamp"]}.`, body).digest("hex")}`;
  // One family is enough; this shows both. During a change of secrets there are several of the first.
  return (
    (headers["webhook-signature"] ?? "").split(" ").some((given) => same(given, standard)) &&
    headers["x-webhook-timestamp"] === timestamp &&
    same(headers["x-webhook-signature"] ?? "", legacy)
  );
}

// Starts a task, waits for its webhook and returns the report.
async function runAsync(prompt) {
  let received;
  const report = new Promise((resolve) => (received = resolve));
  const server = createServer(async (incoming, outgoing) => {
    const chunks = [];
    for await (const chunk of incoming) chunks.push(chunk);
    const body = Buffer.concat(chunks); // verified as it came, and only then parsed
    const genuine = isGenuine(process.env.CLOUDRUN_CALLBACK_SECRET, incoming.headers, body);
    outgoing.writeHead(genuine ? 204 : 401).end();
    if (genuine) received(JSON.parse(body));
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const callbackUrl = `http://127.0.0.1:${server.address().port}/`;
  console.error(`receiving at ${callbackUrl}`);
  const { taskId } = await (await start("/run-async", request(prompt, { callbackUrl }))).json();
  console.error(`started ${taskId}`);
  try {
    return await report;
  } finally {
    server.close();
  }
}

async function cancel(id) {
  const answer = await ask(`/cancel/${id}`, { method: "POST" });
  console.log((await answer.json()).message);
}

function say(line) {
  if (line.type !== "assistant") return;
  for (const part of line.message.content) if (part.type === "text") console.log(part.text);
}

function finish(report) {
  console.log(`${report.taskId} ${report.status}: ${report.result ?? report.error}`);
  process.exitCode = report.exitCode;
}

const [command, argument] = process.argv.slice(2);
if (command === "run" && argument) finish(await run(argument, say));
else if (command === "run-async" && argument) finish(await runAsync(argument));
else if (command === "cancel" && argument) await cancel(argument);
else {
  console.error("usage: gatehouse.mjs run PROMPT | run-async PROMPT | cancel TASK_ID");
  process.exitCode = 64;
}
