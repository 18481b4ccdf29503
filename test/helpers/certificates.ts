// Certificates for tests of TLS, made by openssl.
import { execFileSync, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';

export const hasOpenssl = spawnSync('openssl', ['version']).status === 0;

/** A key and its certificate, in PEM, and the files that hold them. */
export interface Certificate {
  readonly key: Buffer;
  readonly cert: Buffer;
  readonly keyFile: string;
  readonly certFile: string;
}

const EC_KEY = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes'];

/** An authority whose certificates lie in `directory`. */
export class Authority {
  /** The file that makes a client trust the authority. */
  readonly file: string;
  readonly #directory: string;
  #numSigned = 0;

  constructor(directory: string) {
    this.#directory = directory;
    this.file = path.join(directory, 'authority.pem');
    const target = ['-keyout', 'authority.key', '-out', 'authority.pem'];
    this.#openssl('req', '-x509', ...EC_KEY, ...target, '-subj', '/CN=an authority', '-days', '2');
  }

  /**
   * Signs a certificate for some names, such as `DNS:localhost`; a negative number of days makes it expired.
   */
  sign(names: string, days = 2): Certificate {
    const name = `signed-${++this.#numSigned}`;
    const file = (extension: string): string => `${name}.${extension}`;
    fs.writeFileSync(path.join(this.#directory, file('ext')), `subjectAltName=${names}\n`);
    const request = ['-keyout', file('key'), '-out', file('csr'), '-subj', '/CN=a server'];
    this.#openssl('req', ...EC_KEY, ...request);
    const by = ['-CA', 'authority.pem', '-CAkey', 'authority.key', '-CAcreateserial'];
    const what = ['-in', file('csr'), '-out', file('pem'), '-extfile', file('ext')];
    this.#openssl('x509', '-req', ...what, ...by, '-days', String(days));
    const [keyFile, certFile] = ['key', 'pem'].map((extension) =>
      path.join(this.#directory, file(extension)),
    );
    if (!keyFile || !certFile) throw new Error('no files');
    return { key: fs.readFileSync(keyFile), cert: fs.readFileSync(certFile), keyFile, certFile };
  }

  #openssl(...args: string[]): void {
    execFileSync('openssl', args, { cwd: this.#directory, stdio: 'pipe' });
  }
}
