// The files of a finished run that services which record runs get.
import fs from 'node:fs';
import path from 'node:path';

/** The model, its plots, and what describes them, by their names in the run's directory. */
export function resultFiles(directory: string): string[] {
  const folders = ['model', 'plots'].flatMap((folder) => {
    const place = path.join(directory, folder);
    return fs.existsSync(place) ? fs.readdirSync(place).map((name) => `${folder}/${name}`) : [];
  });
  const single = ['config.yaml', 'summary.json'].filter((name) => fs.existsSync(path.join(directory, name)));
  return [...single, ...folders.sort()];
}
