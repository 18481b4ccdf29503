// Every measured metric has a definition, whose better direction is that of better predictions, and
// with which the page for users agrees.
import fs from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { binaryMetrics, classificationMetrics } from '../../../../src/metrics/classification.ts';
import { isBetter, METRICS, metricNamed, scalarMetrics } from '../../../../src/metrics/definitions.ts';
import { regressionMetrics } from '../../../../src/metrics/regression.ts';
import { sequenceMetrics } from '../../../../src/metrics/sequence.ts';
import { ROOT } from '../../../helpers/cli.ts';

const LABELS = Uint32Array.from({ length: 24 }, (_, row) => row % 6);
const TARGETS = Float32Array.from(LABELS, (label) => label % 2);

/**
 * Outputs whose right class stands out more the greater `sureness` is; row 3 is
 * right only if it is great.
 */
function logitsOf(sureness: number, numClasses: number): Float32Array {
  return Float32Array.from({ length: LABELS.length * numClasses }, (_, at) => {
    const row = Math.floor(at / numClasses);
    const isRight = at % numClasses === (LABELS[row] as number) % numClasses;
    return isRight ? sureness - (row === 3 ? 5 : 0) : -(at % numClasses) / 10;
  });
}

/** Every measured metric, by task, of predictions that improve with `sureness`. */
function measureTasks(sureness: number): Record<string, number>[] {
  const loss = 1 / sureness;
  const actual = Float64Array.from(LABELS);
  const column = { actual, predicted: actual.map((value, row) => value + (row % 3) / sureness) };
  const logits = logitsOf(sureness, 6);
  const rank = sureness > 5 ? 0 : 6;
  return [
    regressionMetrics({ columns: [column], transformed: [column], loss }),
    classificationMetrics({ outputs: logits, labels: LABELS, loss, topK: 5, math: Math }),
    classificationMetrics({ outputs: logitsOf(sureness, 2), labels: LABELS.map((label) => label % 2), loss }),
    binaryMetrics({
      outputs: TARGETS.map((target, row) => (2 * target - 1) * sureness - (row === 3 ? 5 : 0)),
      targets: TARGETS,
      numColumns: 1,
      loss,
      math: Math,
    }),
    sequenceMetrics({
      ranks: Float32Array.of(0, rank),
      loss,
      logLosses: Float32Array.of(loss),
      topK: 5,
      exp: Math.exp,
    }),
  ].map(scalarMetrics);
}

describe('the definition of a metric', () => {
  const [worse, better] = [measureTasks(2), measureTasks(8)];

  it('exactly the measured metrics have definitions', () => {
    const measured = worse.flatMap((metrics) => Object.keys(metrics));
    expect(measured.filter((name) => !metricNamed(name))).toEqual([]);
    const used = new Set(measured.map((name) => metricNamed(name)?.name));
    expect(METRICS.map(({ name }) => name).filter((name) => !used.has(name))).toEqual([]);
  });

  it.each(METRICS)('the metric $name is better when it is $better', ({ name, better: direction }) => {
    const pairs = worse.flatMap((metrics, task) =>
      Object.keys(metrics)
        .filter((measured) => metricNamed(measured)?.name === name)
        .map((measured) => [metrics[measured] as number, better[task]?.[measured] as number] as const),
    );
    expect(pairs.length).toBeGreaterThan(0);
    for (const [bad, good] of pairs) {
      if (direction === undefined) expect(good).toBe(bad);
      else expect([isBetter(direction, good, bad), isBetter(direction, bad, good)]).toEqual([true, false]);
    }
  });

  it('the definitions of metrics agree with docs/config.md', () => {
    const page = fs.readFileSync(path.join(ROOT, 'docs/config.md'), 'utf8');
    const [, table = ''] = /\| Metric .*\n.*\n((?:\|.*\n)+)/.exec(page) ?? [];
    const cellsOf = (line: string): string[] =>
      line
        .split(/(?<!\\)\|/)
        .slice(1, -1)
        .map((cell) => cell.trim().replaceAll('\\|', '|'));
    const words = { min: 'less', max: 'more' };
    expect(table.trimEnd().split('\n').map(cellsOf)).toEqual(
      METRICS.map(({ name, better, about, needs = '' }) => [
        `\`${name}\``,
        better ? words[better] : '',
        about,
        needs,
      ]),
    );
  });
});
