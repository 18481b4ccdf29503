// The syntax of the commands that look after a cluster: its certificates, and the status of its run.
import type { Command } from 'commander';
import type { CertsArguments } from './certs-command.ts';
import type { StatusArguments } from './status-command.ts';
import { collect, coordinatorUrl, filePath, wholeNumber, withTls } from './syntax-options.ts';

/** Adds the command that asks a coordinator how its run is. */
export function addStatus(program: Command): void {
  const status = program.command('status');
  withTls(status, {
    cert: 'PEM file of a certificate, for a coordinator that wants one',
    ca: 'PEM file of the authority that signed the certificate of the coordinator',
  })
    .description('show the run of a coordinator: progress, metrics, and what each worker has done')
    .argument('<url>', 'that by which workers reach it, such as ws://HOST:PORT', coordinatorUrl)
    .option('--token-file <file>', 'file with the secret of the coordinator (or LOCKSTEP_TOKEN)', filePath)
    .option('--watch <seconds>', 'ask again so often, until told to stop', wholeNumber(1, 3600))
    .option('--json', 'print the status as JSON')
    .action(async (url: string, options: StatusArguments) =>
      (await import('./status-command.ts')).showStatus(url, options),
    );
}

/** Adds the command that makes the certificates of a cluster. */
export function addCerts(program: Command): void {
  program
    .command('certs')
    .description('make an authority and the certificates of a small cluster, or renew those in the directory')
    .argument('<dir>', 'directory of the PEM files', filePath)
    .option(
      '--host <name>',
      'name or address by which workers reach the coordinator; repeatable (default: those of this machine)',
      collect,
      [],
    )
    .option(
      '--worker <name>',
      'worker with a certificate of its own, its host name; repeatable (default: one for all)',
      collect,
      [],
    )
    .option('--days <count>', 'time that the certificates are valid', wholeNumber(1, 3650), 365)
    .action(async (directory: string, options: CertsArguments) =>
      (await import('./certs-command.ts')).makeCertificates(directory, options),
    );
}
