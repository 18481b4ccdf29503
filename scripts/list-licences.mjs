// Lists the licences of all packages that `npm install lockstep` brings, in docs/licences.md, by what
// package-lock.json says; fails on one that is not allowed. `--check` writes nothing, and fails where
// the page is another. A folder may be named instead of this one.
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

/** Licences under which a package may be installed beside ours, unchanged. */
const ALLOWED = [
  ...['0BSD', 'Apache-2.0', 'BSD-2-Clause', 'BSD-3-Clause', 'ISC', 'MIT', 'MPL-2.0', 'Unlicense'],
  '(Apache-2.0 AND BSD-3-Clause)',
  '(BSD-3-Clause OR GPL-2.0)',
];
const HEADER = `# Licences

Made by \`node scripts/list-licences.mjs\`: the packages that \`npm install lockstep\` brings, on any
platform, by what \`package-lock.json\` says. Lockstep itself is under the MIT licence. The fonts in
\`dist/fonts/\`, DejaVu, have a free licence of their own, which lies beside them;
\`dist/api/predict.js\` and \`dist/join/tab.js\` hold parts of some of these packages, the latter also
of @noble/hashes, @noble/ed25519, buffer, base64-js and ieee754, and their licences at their ends.
`;

const args = process.argv.slice(2);
const folder = args.find((arg) => !arg.startsWith('--')) ?? fileURLToPath(new URL('..', import.meta.url));
const { packages } = JSON.parse(fs.readFileSync(path.join(folder, 'package-lock.json'), 'utf8'));
const installed = Object.entries(packages)
  .filter(([place, { dev, devOptional, peer }]) => place !== '' && !dev && !devOptional && !peer)
  .map(([place, { version, license }]) => ({
    name: `${place.replace(/^.*node_modules\//, '')} ${version}`,
    license: license ?? 'none named',
  }));

const refused = installed.filter(({ license }) => !ALLOWED.includes(license));
for (const { name, license } of refused) console.error(`${name}: the licence is not allowed: ${license}`);

const sections = [...new Set(installed.map(({ license }) => license))].sort().map((license) => {
  const names = installed.filter((entry) => entry.license === license).map(({ name }) => `- ${name}`);
  return `\n## ${license}\n\n${[...new Set(names)].sort().join('\n')}\n`;
});
const text = HEADER + sections.join('');
const page = path.join(folder, 'docs/licences.md');
if (!args.includes('--check')) fs.writeFileSync(page, text);
else if (fs.readFileSync(page, 'utf8') !== text) {
  console.error('docs/licences.md is out of date: node scripts/list-licences.mjs makes it anew');
  process.exitCode = 1;
}
if (refused.length > 0) process.exitCode = 1;
