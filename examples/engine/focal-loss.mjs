// A loss of your own: the focal loss of Lin et al., 2017, -(1 - p)^gamma log p of the right class's
// probability p, which makes what is already certain count less. Exponentials and logarithms are those that
// Lockstep passes in, since Math.exp and ** have other bits on other machines.

/** The focal loss of classes; `gamma` 0 is the cross-entropy. */
export function focalLoss(gamma) {
  return {
    like: 'crossEntropy',
    compute(outputs, targets, { numRows, outputWidth, math }) {
      const losses = new Float64Array(numRows);
      const gradient = new Float32Array(outputs.length);
      for (let row = 0; row < numRows; row++) {
        const logits = outputs.subarray(row * outputWidth, (row + 1) * outputWidth);
        const [label, largest] = [targets[row], Math.max(...logits)];
        const powers = Float64Array.from(logits, (logit) => math.exp(logit - largest));
        const sum = powers.reduce((total, power) => total + power, 0);
        const logP = logits[label] - largest - math.log(sum);
        const p = powers[label] / sum;
        const rest = 1 - p;
        const focus = rest > 0 ? math.exp(gamma * math.log(rest)) : Number(gamma === 0);
        losses[row] = -focus * logP;
        // d loss / d logit i = slope (1 if i is the label, else 0, minus the probability of i)
        const slope = (rest > 0 ? (gamma * focus * p * logP) / rest : 0) - focus;
        for (let i = 0; i < outputWidth; i++) {
          gradient[row * outputWidth + i] = slope * (Number(i === label) - powers[i] / sum);
        }
      }
      return { losses, gradient };
    },
  };
}
