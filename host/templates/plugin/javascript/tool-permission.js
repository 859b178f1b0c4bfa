// Decides on every tool call of an agent before it runs. See README.md.
import { settings, log, cite } from 'gatehouse:plugin/host@0.1.0';

const SCHEMA = {
  type: 'object',
  properties: {
    denied_commands: {
      type: 'array',
      items: { type: 'string', minLength: 1 },
      default: ['curl', 'wget'],
    },
  },
  additionalProperties: false,
};

export const about = {
  describe: () => ({
    name: '{{name}}',
    version: '0.1.0',
    summary: 'Denies Bash calls that begin with one of some commands.',
    settingsSchema: JSON.stringify(SCHEMA),
  }),
  // What the schema cannot say: throw a text to refuse settings.
  checkSettings(text) {
    JSON.parse(text);
  },
};

export const toolPolicy = {
  decide(task, call) {
    if (call.tool() !== 'Bash') return { tag: 'abstain' };
    const { command } = JSON.parse(call.input());
    // What is thrown counts as a denial, unless the operator says otherwise.
    if (typeof command !== 'string') throw 'a Bash call without a command';
    const denied = JSON.parse(settings()).denied_commands ?? SCHEMA.properties.denied_commands.default;
    const first = command.trim().split(/\s+/)[0];
    if (!denied.includes(first)) return { tag: 'abstain' };
    log('info', `denied ${first}`);
    cite('denied_commands');
    return { tag: 'deny', val: `\`${first}\` is not allowed here.` };
  },
};
