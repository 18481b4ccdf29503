// OpenStack Swift on this machine, whose middleware s3api speaks S3: another program than ours and than the
// client's makers', which checks signatures and has multipart uploads.
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import fs from 'node:fs';
import net, { type AddressInfo } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import {
  CreateBucketCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
} from '@aws-sdk/client-s3';

// The SDK's news about versions of Node.js is none for a test.
process.env['AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED'] = 'true';

const PARTS = ['account', 'container', 'object', 'proxy'] as const;
const START_DEADLINE_MS = 30_000;

/** The account of the tests. */
const KEY_ID = 'test:tester';
const SECRET = 'a-secret-of-the-tests';

/** The requirement that this machine lacks; undefined if none. */
export function missingForObjects(): string | undefined {
  const program = spawnSync('swift-proxy-server', ['--help']);
  return program.error ? "Debian's swift-proxy, swift-account, swift-container and swift-object" : undefined;
}

/** A store, with a bucket of the name `bucket`. */
export class ObjectServer {
  readonly url: string;
  readonly #folder: string;
  readonly #ports: readonly number[];
  readonly #client: S3Client;
  #processes: ChildProcess[] = [];

  private constructor(folder: string, ports: readonly number[]) {
    this.#folder = folder;
    this.#ports = ports;
    this.url = `http://127.0.0.1:${ports.at(-1)}`;
    this.#client = new S3Client({
      endpoint: this.url,
      region: 'us-east-1',
      forcePathStyle: true,
      credentials: { accessKeyId: KEY_ID, secretAccessKey: SECRET },
    });
  }

  /** Starts a store that is empty. */
  static async start(): Promise<ObjectServer> {
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'lockstep-swift-'));
    fs.mkdirSync(path.join(folder, 'devices', 'd1'), { recursive: true });
    const ports = await freePorts(PARTS.length);
    for (const [index, part] of PARTS.entries()) configure(folder, part, ports[index] as number);
    const server = new ObjectServer(folder, ports);
    try {
      await server.resume();
      await server.#client.send(new CreateBucketCommand({ Bucket: 'bucket' }));
      return server;
    } catch (error) {
      await server.close();
      throw error;
    }
  }

  /** Variables by which a command finds the store, and is let in. */
  get env(): Record<string, string> {
    return {
      AWS_ENDPOINT_URL_S3: this.url,
      AWS_REGION: 'us-east-1',
      AWS_ACCESS_KEY_ID: KEY_ID,
      AWS_SECRET_ACCESS_KEY: SECRET,
      LOCKSTEP_CACHE_DIR: path.join(this.#folder, 'cache'),
    };
  }

  /** Kills its processes. */
  async kill(): Promise<void> {
    await Promise.all(
      this.#processes.map(
        (child) =>
          new Promise<void>((resolve) => {
            child.once('exit', () => resolve());
            child.kill('SIGKILL');
          }),
      ),
    );
    this.#processes = [];
  }

  /** Starts it, with all objects that it had. */
  async resume(): Promise<void> {
    this.#processes = PARTS.map((part) =>
      spawn(`swift-${part}-server`, [path.join(this.#folder, `${part}.conf`)], { stdio: 'ignore' }),
    );
    const deadlineMs = Date.now() + START_DEADLINE_MS;
    for (const port of this.#ports) {
      while (!(await isOpen(port))) {
        if (Date.now() > deadlineMs) throw new Error('swift has not started');
        await sleep(100);
      }
    }
  }

  async close(): Promise<void> {
    await this.kill();
    this.#client.destroy();
    fs.rmSync(this.#folder, { recursive: true, force: true });
  }

  async put(key: string, body: Uint8Array | string, metadata: Record<string, string> = {}): Promise<void> {
    const place = { Bucket: 'bucket', Key: key, Metadata: metadata };
    await this.#client.send(new PutObjectCommand({ ...place, Body: body }));
  }

  async get(key: string): Promise<Buffer> {
    const { Body } = await this.#client.send(new GetObjectCommand({ Bucket: 'bucket', Key: key }));
    return Buffer.from((await Body?.transformToByteArray()) ?? []);
  }

  async remove(key: string): Promise<void> {
    await this.#client.send(new DeleteObjectCommand({ Bucket: 'bucket', Key: key }));
  }

  /** Keys that begin with `prefix`, in order. */
  async list(prefix: string): Promise<string[]> {
    const { Contents = [] } = await this.#client.send(
      new ListObjectsV2Command({ Bucket: 'bucket', Prefix: prefix }),
    );
    return Contents.map(({ Key = '' }) => Key).sort();
  }
}

async function isOpen(port: number): Promise<boolean> {
  const socket = net.connect(port, '127.0.0.1');
  const isConnected = await new Promise<boolean>((resolve) => {
    socket.once('connect', () => resolve(true)).once('error', () => resolve(false));
  });
  socket.destroy();
  return isConnected;
}

/** Ports that are free now. */
async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from({ length: count }, () => {
      const server = net.createServer();
      return new Promise<net.Server>((resolve) => server.listen(0, '127.0.0.1', () => resolve(server)));
    }),
  );
  const ports = servers.map((server) => (server.address() as AddressInfo).port);
  for (const server of servers) server.close();
  return ports;
}

/** Writes the config of a server, and the ring by which the proxy finds it. */
function configure(folder: string, part: (typeof PARTS)[number], port: number): void {
  const common = {
    bind_ip: '127.0.0.1',
    bind_port: String(port),
    user: os.userInfo().username,
    swift_dir: folder,
    devices: path.join(folder, 'devices'),
    mount_check: 'false',
    workers: '0',
    log_level: 'ERROR',
  };
  const sections: Record<string, Record<string, string>> = part === 'proxy'
    ? PROXY
    : {
        'pipeline:main': { pipeline: `${part}-server` },
        [`app:${part}-server`]: { use: `egg:swift#${part}` },
      };
  const text = Object.entries({ DEFAULT: common, ...sections }).map(([name, fields]) =>
    [`[${name}]`, ...Object.entries(fields).map(([key, value]) => `${key} = ${value}`)].join('\n'),
  );
  fs.writeFileSync(path.join(folder, `${part}.conf`), `${text.join('\n')}\n`);
  if (part === 'proxy') return;
  const builder = path.join(folder, `${part}.builder`);
  // One copy of everything, on one device.
  for (const args of [['create', '4', '1', '0'], ['add', `r1z1-127.0.0.1:${port}/d1`, '1'], ['rebalance']])
    spawnSync('swift-ring-builder', [builder, ...args]);
}

const FILTERS = ['catch_errors', 'gatekeeper', 'cache', 'bulk', 's3api', 'tempauth', 'slo'];

const PROXY: Record<string, Record<string, string>> = {
  'pipeline:main': { pipeline: [...FILTERS, 'proxy-server'].join(' ') },
  'app:proxy-server': {
    use: 'egg:swift#proxy',
    account_autocreate: 'true',
    allow_account_management: 'true',
    // A part that was away is asked again at once.
    error_suppression_limit: '1000000',
  },
  ...Object.fromEntries(FILTERS.map((name) => [`filter:${name}`, { use: `egg:swift#${name}` }])),
  // It wants a cache, and does without one that does not answer.
  'filter:cache': { use: 'egg:swift#memcache', memcache_servers: '127.0.0.1:9' },
  'filter:tempauth': { use: 'egg:swift#tempauth', user_test_tester: `${SECRET} .admin` },
  'filter:s3api': { use: 'egg:swift#s3api', auth_pipeline_check: 'false', location: 'us-east-1' },
};
