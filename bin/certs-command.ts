// `lockstep certs`: an authority of one's own and the certificates of a small cluster, as PEM files.
import { generateKeyPairSync, randomBytes, X509Certificate } from 'node:crypto';
import fs from 'node:fs';
import { isIP } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import forge from 'node-forge';
import { makeDirectory, writeFileDurably } from '../src/durable-write.ts';
import { LockstepError, quoteValue, systemErrorCode } from '../src/errors.ts';
import { shellWord } from '../src/printable.ts';
import { cannotWrite } from '../coordinator/output/results.ts';
import { createOutput } from './runtime.ts';

/** Arguments of `lockstep certs`. */
export interface CertsArguments {
  readonly host: readonly string[];
  readonly worker: readonly string[];
  readonly days: number;
}

/** An authority, or one end of a connection. */
interface Identity {
  readonly certificate: forge.pki.Certificate;
  readonly privateKey: forge.pki.rsa.PrivateKey;
}

const CA_YEARS = 10;
const DAY_MS = 86_400_000;
/** A certificate is valid from an hour ago: the clocks of a cluster differ. */
const CLOCK_SKEW_MS = 3_600_000;
const LOOPBACK = ['localhost', '127.0.0.1', '::1'];
const COORDINATOR = 'coordinator';
const NAME = /^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$/;

/** Writes the certificates of a coordinator and its workers, signed by the authority in the directory. */
export async function makeCertificates(directory: string, args: CertsArguments): Promise<void> {
  const hosts = args.host.length > 0 ? args.host : ownHosts();
  const workers = args.worker.length > 0 ? args.worker : ['worker'];
  for (const host of hosts) requireHost(host);
  for (const worker of workers) requireWorker(worker);
  const { screen } = createOutput();
  try {
    await makeDirectory(directory);
    const authority = (await readAuthority(directory)) ?? (await makeAuthority(directory));
    await issue(directory, COORDINATOR, { authority, names: [...hosts, ...LOOPBACK], days: args.days });
    for (const name of workers)
      await issue(directory, name, { authority, names: [name, ...LOOPBACK], days: args.days });
  } catch (error) {
    throw systemErrorCode(error) === undefined ? error : cannotWrite(directory, error);
  }
  screen.write(adviceOn(directory, hosts, workers));
}

/** Names and addresses under which others may know this machine. */
function ownHosts(): string[] {
  const addresses = Object.values(os.networkInterfaces())
    .flatMap((found) => found ?? [])
    .filter(({ internal, address }) => !internal && !address.startsWith('fe80:'));
  const name = os.hostname();
  return [...(isHost(name) ? [name] : []), ...addresses.map(({ address }) => address)];
}

const isHost = (text: string): boolean =>
  isIP(text) !== 0 || (text.length <= 253 && text.split('.').every((label) => NAME.test(label)));

function requireHost(host: string): void {
  if (isHost(host)) return;
  throw certsError(
    `--host ${quoteValue(host)} is neither a name nor an address`,
    'for example --host node1.example.org --host 10.0.0.5',
  );
}

function requireWorker(name: string): void {
  if (NAME.test(name) && name !== COORDINATOR && !/^(ca|.*-key)$/.test(name)) return;
  throw certsError(
    `--worker ${quoteValue(name)} cannot name a file and a host`,
    'use letters, digits, dots and hyphens',
  );
}

/** The authority of earlier calls. */
async function readAuthority(directory: string): Promise<Identity | undefined> {
  const [certFile, keyFile] = filesOf(directory, 'ca');
  if (!fs.existsSync(certFile) && !fs.existsSync(keyFile)) return undefined;
  for (const [file, other] of [
    [certFile, keyFile],
    [keyFile, certFile],
  ] as const) {
    if (!fs.existsSync(file))
      throw certsError(
        `${other} is there and ${file} is not: nothing can be signed without both`,
        `put it back, or begin anew in another directory`,
      );
  }
  try {
    return {
      certificate: forge.pki.certificateFromPem(fs.readFileSync(certFile, 'utf8')),
      privateKey: forge.pki.privateKeyFromPem(fs.readFileSync(keyFile, 'utf8')),
    };
  } catch (error) {
    throw certsError(
      `${certFile} and ${keyFile} are no authority that this command made`,
      'use another directory',
      error,
    );
  }
}

async function makeAuthority(directory: string): Promise<Identity> {
  const { publicKey, privateKey, keyPem } = generateKeys(3072);
  const certificate = draft(publicKey, `Lockstep authority of ${os.hostname()}`, CA_YEARS * 365);
  certificate.setIssuer(certificate.subject.attributes);
  certificate.setExtensions([
    { name: 'basicConstraints', cA: true, pathLenConstraint: 0, critical: true },
    { name: 'keyUsage', keyCertSign: true, cRLSign: true, critical: true },
    { name: 'subjectKeyIdentifier' },
  ]);
  certificate.sign(privateKey, forge.md.sha256.create());
  await save(directory, 'ca', { certificate, keyPem });
  return { certificate, privateKey };
}

/** Makes a certificate with which its owner may take connections as well as make them. */
async function issue(
  directory: string,
  name: string,
  {
    authority,
    names,
    days,
  }: { readonly authority: Identity; readonly names: readonly string[]; readonly days: number },
): Promise<void> {
  const { publicKey, keyPem } = generateKeys(2048);
  const certificate = draft(publicKey, name, days);
  const { validity, subject } = authority.certificate;
  if (certificate.validity.notAfter > validity.notAfter) certificate.validity.notAfter = validity.notAfter;
  certificate.setIssuer(subject.attributes);
  certificate.setExtensions([
    { name: 'basicConstraints', cA: false, critical: true },
    { name: 'keyUsage', digitalSignature: true, critical: true },
    { name: 'extKeyUsage', serverAuth: true, clientAuth: true },
    {
      name: 'subjectAltName',
      altNames: [...new Set(names)].map((host) =>
        isIP(host) ? { type: 7, ip: host } : { type: 2, value: host },
      ),
    },
    { name: 'subjectKeyIdentifier' },
    {
      name: 'authorityKeyIdentifier',
      keyIdentifier: authority.certificate.generateSubjectKeyIdentifier().getBytes(),
    },
  ]);
  certificate.sign(authority.privateKey, forge.md.sha256.create());
  await save(directory, name, { certificate, keyPem });
}

function draft(publicKey: forge.pki.rsa.PublicKey, commonName: string, days: number): forge.pki.Certificate {
  const certificate = forge.pki.createCertificate();
  certificate.publicKey = publicKey;
  // 16 bytes, of which the first begins with 4: positive, and without a zero in front.
  certificate.serialNumber = `4${randomBytes(16).toString('hex').slice(1)}`;
  certificate.validity.notBefore = new Date(Date.now() - CLOCK_SKEW_MS);
  certificate.validity.notAfter = new Date(Date.now() + days * DAY_MS);
  // 64 characters are all that a common name may have.
  certificate.setSubject([{ name: 'commonName', value: commonName.slice(0, 64) }]);
  return certificate;
}

/** RSA, since node-forge signs nothing else. */
function generateKeys(modulusLength: number): {
  readonly publicKey: forge.pki.rsa.PublicKey;
  readonly privateKey: forge.pki.rsa.PrivateKey;
  readonly keyPem: string;
} {
  const pair = generateKeyPairSync('rsa', { modulusLength });
  const keyPem = pair.privateKey.export({ type: 'pkcs8', format: 'pem' }) as string;
  return {
    publicKey: forge.pki.publicKeyFromPem(pair.publicKey.export({ type: 'spki', format: 'pem' }) as string),
    privateKey: forge.pki.privateKeyFromPem(keyPem),
    keyPem,
  };
}

/** Whoever reads between the two writes finds that they do not belong together, and keeps what it has. */
async function save(
  directory: string,
  name: string,
  { certificate, keyPem }: { readonly certificate: forge.pki.Certificate; readonly keyPem: string },
): Promise<void> {
  const [certFile, keyFile] = filesOf(directory, name);
  await writeFileDurably(keyFile, keyPem, { mode: 0o600 });
  await writeFileDurably(certFile, forge.pki.certificateToPem(certificate));
}

function filesOf(directory: string, name: string): [cert: string, key: string] {
  return [path.join(directory, `${name}.pem`), path.join(directory, `${name}-key.pem`)];
}

function adviceOn(directory: string, hosts: readonly string[], workers: readonly string[]): string {
  const [ca, caKey] = filesOf(directory, 'ca');
  const [cert, key] = filesOf(directory, COORDINATOR);
  const [worker = 'worker'] = workers;
  const { validTo } = new X509Certificate(fs.readFileSync(cert));
  return [
    `certificates for ${[...hosts, ...LOOPBACK].join(', ')} and for ${workers.join(', ')}, until ${validTo}`,
    '',
    'on the coordinator:',
    `  lockstep coordinator CONFIG --listen 0.0.0.0:7700 --token-file FILE \\`,
    `    --tls-cert ${shellWord(cert)} --tls-key ${shellWord(key)} --tls-ca ${shellWord(ca)}`,
    `on each worker, with copies of ca.pem, ${worker}.pem and ${worker}-key.pem:`,
    `  lockstep worker wss://${hosts[0] ?? 'localhost'}:7700 --token-file FILE \\`,
    `    --tls-ca ca.pem --tls-cert ${worker}.pem --tls-key ${worker}-key.pem`,
    `Keep ${caKey} to yourself: whoever has it can make certificates that all of them trust.`,
    'The same command again renews the certificates; processes take the new files by themselves.',
    '',
  ].join('\n');
}

function certsError(message: string, help: string, cause?: unknown): LockstepError {
  return new LockstepError({ category: 'usage', code: 'E_CERTS', message, help, cause });
}
