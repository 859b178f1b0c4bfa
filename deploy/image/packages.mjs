// The packages installed in a node_modules, a line each: npm|name|version|licence.
import { readFileSync } from 'node:fs';

const modules = process.argv[2];
const { packages } = JSON.parse(readFileSync(`${modules}/.package-lock.json`, 'utf8'));
for (const [path, { version, license }] of Object.entries(packages)) {
  console.log(['npm', path.split('node_modules/').pop(), version, license ?? ''].join('|'));
}
