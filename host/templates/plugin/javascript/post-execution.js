// Acts after the agent's run. See README.md.
import { find } from 'gatehouse:plugin/workspace@0.1.0';

export const about = {
  describe: () => ({
    name: '{{name}}',
    version: '0.1.0',
    summary: 'Counts the files that match some patterns.',
    settingsSchema: JSON.stringify({ type: 'object', additionalProperties: false }),
  }),
  checkSettings(text) {
    JSON.parse(text);
  },
};

function patterns(options) {
  const { patterns } = JSON.parse(options);
  const texts = Array.isArray(patterns) && patterns.every((pattern) => typeof pattern === 'string');
  if (!texts || patterns.length === 0) throw 'patterns: expected a list of patterns such as "**/*.txt"';
  return patterns;
}

export const postAction = {
  // Called when the request comes in, so that a mistake is told at once.
  checkOptions(options) {
    patterns(options);
  },
  // What is returned is reported under the action's name.
  run(task, outcome, options) {
    const files = find(patterns(options));
    let bytes = 0;
    for (const file of files) bytes += Number(file.size);
    return JSON.stringify({ files: files.length, bytes });
  },
};
