// Judges requests before anything is stored or started. See README.md.
import { settings, cite } from 'gatehouse:plugin/host@0.1.0';

const SCHEMA = {
  type: 'object',
  properties: { max_prompt_length: { type: 'integer', minimum: 1, default: 10000 } },
  additionalProperties: false,
};

export const about = {
  describe: () => ({
    name: '{{name}}',
    version: '0.1.0',
    summary: 'Refuses prompts that are too long.',
    settingsSchema: JSON.stringify(SCHEMA),
  }),
  // What the schema cannot say: throw a text to refuse settings.
  checkSettings(text) {
    JSON.parse(text);
  },
};

export const validation = {
  validate(task) {
    const most = JSON.parse(settings()).max_prompt_length ?? SCHEMA.properties.max_prompt_length.default;
    if (task.prompt().length <= most) return { tag: 'accept' };
    cite('max_prompt_length');
    return {
      tag: 'reject',
      val: {
        code: 'prompt-too-long',
        message: `The prompt may have at most ${most} characters.`,
        field: 'prompt',
        details: undefined,
      },
    };
  },
};
