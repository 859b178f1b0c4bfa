// Denies command lines that download something and run a shell, and writes outside of the workspace.
import { settings, cite } from 'gatehouse:plugin/host@0.1.0';

const DEFAULTS = {
  downloaders: ['curl', 'wget'],
  shells: ['sh', 'bash', 'dash', 'zsh'],
  writable: [],
};
const list = (name) => ({ type: 'array', items: { type: 'string' }, default: DEFAULTS[name] });
const SCHEMA = {
  type: 'object',
  properties: { downloaders: list('downloaders'), shells: list('shells'), writable: list('writable') },
  additionalProperties: false,
};
// Words before a command that are not it.
const BEFORE = new Set([
  'sudo', 'env', 'exec', 'command', 'nohup', 'time', 'xargs', '{', '!', 'if', 'then', 'else', 'do', 'while', 'until',
]);

function read(text) {
  const found = { ...DEFAULTS, ...JSON.parse(text) };
  for (const path of found.writable) {
    if (!path.startsWith('/')) throw `writable: \`${path}\` is not absolute`;
  }
  return found;
}

export const about = {
  describe: () => ({
    name: 'workspace-guard',
    version: '0.1.0',
    summary: 'Denies downloads that are run unseen, and writes outside of the workspace.',
    settingsSchema: JSON.stringify(SCHEMA),
  }),
  checkSettings(text) {
    read(text);
  },
};

export const toolPolicy = {
  decide(task, call) {
    const set = read(settings());
    switch (call.tool()) {
      case 'Bash': {
        const { command } = JSON.parse(call.input());
        if (typeof command !== 'string') throw 'a Bash call without a command';
        return judgeLine(set, command);
      }
      case 'Write':
      case 'Edit':
      case 'MultiEdit':
      case 'NotebookEdit': {
        const path = call.realPath();
        if (typeof path !== 'string') throw 'a write without a path';
        return judgeWrite(set, call.workspace(), path);
      }
      default:
        return { tag: 'abstain' };
    }
  },
};

function judgeLine(set, line) {
  const names = line.split(/[|;&()`\n]/).map(command);
  const downloader = names.find((name) => set.downloaders.includes(name));
  const shell = names.find((name) => set.shells.includes(name));
  if (downloader === undefined || shell === undefined) return { tag: 'abstain' };
  cite('downloads');
  const reason = `\`${downloader}\` and \`${shell}\` in one command line: save the download and look at it before it is run.`;
  return { tag: 'deny', val: reason };
}

// The name of the command that a piece of a command line begins with.
function command(piece) {
  const words = piece.split(/[ \t\r]/).map((word) => word.replace(/^["']+|["']+$/g, ''));
  const word = words.find((word) => word !== '' && !word.startsWith('-') && !word.includes('=') && !BEFORE.has(word));
  return word?.split('/').pop();
}

function judgeWrite(set, workspace, path) {
  const below = (root) => {
    const bare = root.replace(/\/+$/, '');
    return path === bare || path.startsWith(`${bare}/`);
  };
  if ([workspace, ...set.writable].some(below)) return { tag: 'abstain' };
  cite('writes');
  return { tag: 'deny', val: `\`${path}\` lies outside of the workspace.` };
}
