// The file of `--hosts`, from text to workers.
import { describe, expect, it } from 'vitest';
import { parseHostFile } from '../../../../coordinator/cluster/host-file.ts';
import { formatError } from '../../../../src/errors.ts';
import type { LockstepError } from '../../../../src/errors.ts';

const parse = (text: string) => parseHostFile(text, 'hosts.txt');

/** The error of a text, as a user sees it. */
function errorOf(text: string): string {
  try {
    parse(text);
  } catch (error) {
    return formatError(error as LockstepError);
  }
  throw new Error(`${text} is taken`);
}

describe('parseHostFile', () => {
  it('a line is a host with a user and a port if it has them, and comments and blank lines are none', () => {
    const text = '\uFEFF# the cluster\r\n\r\nnode1\r\n  ann@node2.example:2222 # a comment\n\n10.0.0.3\n';
    expect(parse(text)).toEqual([
      { name: 'node1', host: 'node1', user: undefined, port: undefined, threads: undefined },
      { name: 'node2.example', host: 'node2.example', user: 'ann', port: 2222, threads: undefined },
      { name: '10.0.0.3', host: '10.0.0.3', user: undefined, port: undefined, threads: undefined },
    ]);
  });

  it('an IPv6 address stands alone, or in brackets before a port', () => {
    expect(parse('fe80::1\n[::1]:22\nann@[2001:db8::2]').map(({ host, port }) => [host, port])).toEqual([
      ['fe80::1', undefined],
      ['::1', 22],
      ['2001:db8::2', undefined],
    ]);
  });

  it('slots are workers of one thread each unless threads says otherwise', () => {
    expect(
      parse('a slots=2\nb threads=8 slots=1\nc threads=3').map(({ name, threads }) => [name, threads]),
    ).toEqual([
      ['a/1', 1],
      ['a/2', 1],
      ['b', 8],
      ['c', 3],
    ]);
  });

  it('workers of a host that stands there twice are numbered', () => {
    expect(parse('a\nb\na:2222').map(({ name }) => name)).toEqual(['a/1', 'b', 'a/2']);
  });

  it('a long name is cut to what a worker may be called', () => {
    const [first, second] = parse(`${'x'.repeat(100)} slots=2`);
    expect([first?.name, second?.name]).toEqual([`${'x'.repeat(62)}/1`, `${'x'.repeat(62)}/2`]);
    expect(first?.host).toHaveLength(100);
  });

  it.each([
    [
      'a\n-oProxyCommand=x',
      '"-oProxyCommand=x" is no host\n  --> hosts.txt:2\n  help: expected [USER@]HOST[:PORT], with an IPv6 address in brackets',
    ],
    [
      'a;b',
      '"a;b" is no host\n  --> hosts.txt:1\n  help: expected [USER@]HOST[:PORT], with an IPv6 address in brackets',
    ],
    [
      '[1.2.3.4]:22',
      '"[1.2.3.4]:22" is no host\n  --> hosts.txt:1\n  help: expected [USER@]HOST[:PORT], with an IPv6 address in brackets',
    ],
    [
      '-a@b',
      '"-a@b" is no host\n  --> hosts.txt:1\n  help: expected [USER@]HOST[:PORT], with an IPv6 address in brackets',
    ],
    ['a:0', 'port 0, expected 1 to 65535\n  --> hosts.txt:1'],
    ['a:65536', 'port 65536, expected 1 to 65535\n  --> hosts.txt:1'],
    ['a slots=0', '"slots=0": expected a whole number from 1 to 1024\n  --> hosts.txt:1'],
    ['a threads=257', '"threads=257": expected a whole number from 1 to 256\n  --> hosts.txt:1'],
    ['a threads', '"threads": expected a whole number from 1 to 256\n  --> hosts.txt:1'],
    ['a slots=1 slots=2', 'slots stands there twice\n  --> hosts.txt:1'],
    [
      'a b',
      '"b" is not known\n  --> hosts.txt:1\n  help: expected slots=COUNT or threads=COUNT after the host',
    ],
    ['a Slots=2', '"Slots=2" is not known\n  --> hosts.txt:1\n  help: did you mean "slots"?'],
    [
      '# nobody\n',
      'it names no host\n  --> hosts.txt\n  help: write one host on each line: [USER@]HOST[:PORT]',
    ],
    [
      'a slots=1000\nb slots=25',
      '1,025 workers, expected at most 1024\n  --> hosts.txt\n  help: one worker with many threads is faster than many workers on one host',
    ],
  ])('%j is refused', (text, message) => {
    expect(errorOf(text)).toBe(`error[E_HOSTS_FILE]: ${message}`);
  });
});
