// Two network namespaces with a link between them that can be made slow, lossy, or cut: only as root on
// Linux. The setup affects nothing outside, and disappears with the namespaces.
import { spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { onTestFinished } from 'vitest';
import { openUdpRelay } from './udp-relay.ts';
import type { Impairments, RelayPort } from './udp-relay.ts';

/** The requirement for namespaces with the given programs that this machine lacks; undefined if none. */
export function missingForNamespaces(programs: readonly string[]): string | undefined {
  if (process.getuid?.() !== 0) return 'root';
  const missing = ['ip', ...programs].filter((program) => !isInstalled(program));
  if (missing.length > 0) return missing.join(', ');
  const name = `lockstep-probe-${process.pid}`;
  const { status } = spawnSync('ip', ['netns', 'add', name]);
  if (status === 0) spawnSync('ip', ['netns', 'del', name]);
  return status === 0 ? undefined : 'the right to make network namespaces';
}

/** Tells whether a program is in PATH, or where root has more of them. */
export function isInstalled(program: string): boolean {
  const folders = [...(process.env['PATH'] ?? '').split(':'), '/usr/sbin', '/sbin'];
  return folders.some((folder) => fs.existsSync(path.join(folder, program)));
}

/** One end of the link. */
export interface End {
  readonly address: string;
  /** A name that leads there, at both ends. */
  readonly name: string;
  /** Runs the command that follows in this end's namespace. */
  readonly through: readonly string[];
}

/** The direction in which packets do not arrive. */
export type Cut = 'both ways' | 'towards the coordinator' | 'towards the worker';

/** The version of IP that a link has. */
export type Family = 'IPv4' | 'IPv6';

const NETWORKS: Readonly<Record<Family, { readonly prefix: string; readonly length: number }>> = {
  IPv4: { prefix: '10.213.7.', length: 24 },
  IPv6: { prefix: 'fd21:3:7::', length: 64 },
};

/** The directory from which `ip netns exec` takes files that stand for those of /etc. */
const ETC = '/etc/netns';

/** The name of the card at both ends. */
const CARD = 'wire';
const SETUP_DEADLINE_MS = 5000;

let numLinks = 0;

/** Network namespaces of a test. */
export class Link {
  readonly coordinator: End;
  readonly worker: End;
  readonly #names: readonly [string, string];

  readonly #family: Family;

  private constructor(family: Family = 'IPv4') {
    this.#family = family;
    const id = `lockstep-${process.pid}-${++numLinks}`;
    this.#names = [`${id}-c`, `${id}-w`];
    const end = (namespace: string, name: string, host: number): End => ({
      address: `${NETWORKS[family].prefix}${host}`,
      name,
      through: ['ip', 'netns', 'exec', namespace],
    });
    this.coordinator = end(this.#names[0], 'coordinator.test', 1);
    this.worker = end(this.#names[1], 'worker.test', 2);
    // Processes of the test end earlier: hooks run in reverse order.
    onTestFinished(() =>
      this.#names.forEach((name) => {
        spawnSync('ip', ['netns', 'del', name]);
        fs.rmSync(path.join(ETC, name), { recursive: true, force: true });
      }),
    );
    const hosts = [this.coordinator, this.worker].map(({ address, name }) => `${address} ${name}\n`).join('');
    for (const name of this.#names) {
      run('ip', 'netns', 'add', name);
      fs.mkdirSync(path.join(ETC, name), { recursive: true });
      fs.writeFileSync(path.join(ETC, name, 'hosts'), `127.0.0.1 localhost\n${hosts}`);
      run('ip', '-n', name, 'link', 'set', 'lo', 'up');
    }
  }

  /**
   * A pair of virtual Ethernet cards, each limited to `rate`, which lose `lossPercent` of all TCP packets.
   */
  static ethernet({
    rate,
    lossPercent,
    family,
  }: {
    rate: string;
    lossPercent: number;
    family?: Family;
  }): Link {
    const link = new Link(family);
    const [first, second] = link.#names;
    run('ip', '-n', first, 'link', 'add', CARD, 'type', 'veth', 'peer', 'name', CARD, 'netns', second);
    for (const [name, { address }] of link.#ends()) {
      link.#configure(name, address);
      const shape = ['tbf', 'rate', rate, 'burst', '32kbit', 'latency', '400ms'];
      run('ip', 'netns', 'exec', name, 'tc', 'qdisc', 'add', 'dev', CARD, 'root', ...shape);
      run('ip', 'netns', 'exec', name, 'nft', filterRules(lossPercent));
    }
    return link;
  }

  /** A tunnel through a relay that holds packets up, drops them and limits their rate. */
  static async tunnel(impairments: Impairments): Promise<Link> {
    const ports = await openUdpRelay(impairments);
    const link = new Link();
    for (const [index, [name, { address }]] of link.#ends().entries()) {
      // Created here, where the relay is, and then moved. Names of cards have at most 15 characters.
      const card = `lk${process.pid}${index}`;
      const { relay, own } = ports[index] as RelayPort;
      const tunnel = spawn(
        'socat',
        [`TUN,tun-name=${card},iff-no-pi`, `UDP4:127.0.0.1:${relay},bind=127.0.0.1:${own}`],
        { stdio: 'inherit' },
      );
      onTestFinished(() => void tunnel.kill('SIGKILL'));
      await until(() => fs.existsSync(`/sys/class/net/${card}`), `socat to make ${card}`);
      run('ip', 'link', 'set', card, 'netns', name, 'name', CARD);
      link.#configure(name, address);
    }
    return link;
  }

  #configure(name: string, address: string): void {
    const { length } = NETWORKS[this.#family];
    // Nobody else could have the address, and to find that out takes seconds.
    const isOurs = this.#family === 'IPv6' ? ['nodad'] : [];
    run('ip', '-n', name, 'address', 'add', `${address}/${length}`, 'dev', CARD, ...isOurs);
    run('ip', '-n', name, 'link', 'set', CARD, 'up');
  }

  /** Stops packets without notice to either end. */
  cut(how: Cut): void {
    if (how !== 'towards the worker') this.#drop(this.#names[0]);
    if (how !== 'towards the coordinator') this.#drop(this.#names[1]);
  }

  heal(): void {
    for (const name of this.#names) run('ip', 'netns', 'exec', name, 'nft', 'flush chain inet cut input');
  }

  #drop(name: string): void {
    run('ip', 'netns', 'exec', name, 'nft', `add rule inet cut input iifname "${CARD}" drop`);
  }

  #ends(): [string, End][] {
    return [
      [this.#names[0], this.coordinator],
      [this.#names[1], this.worker],
    ];
  }
}

/** A chain that drops packets now and then, and one for rules that drop all. */
function filterRules(lossPercent: number): string {
  return `table inet cut { chain input { type filter hook input priority 0; }; chain loss { type filter hook input priority 1; meta l4proto tcp numgen random mod 100 < ${lossPercent} drop; }; }`;
}

function run(program: string, ...args: string[]): void {
  const { status, stderr, error } = spawnSync(program, args, { encoding: 'utf8' });
  if (status === 0) return;
  throw new Error(`${program} ${args.join(' ')}: ${error?.message ?? stderr.trim()}`);
}

async function until(isDone: () => boolean, what: string): Promise<void> {
  const startMs = performance.now();
  while (!isDone()) {
    if (performance.now() - startMs > SETUP_DEADLINE_MS) throw new Error(`waited in vain for ${what}`);
    await sleep(10);
  }
}
