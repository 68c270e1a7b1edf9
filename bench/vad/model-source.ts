/** More would say nothing: the last digit changes F1 in its fourth. */
const DIGITS = 4
const COLUMNS = 118

/** The numbers as they are kept. */
export function rounded(model: ArrayLike<number>): number[] {
  return Array.from(model, (number) => Number(number.toPrecision(DIGITS)))
}

/** @returns `src/media/vad/voice-model.ts` */
export function modelSource(model: ArrayLike<number>): string {
  const lines: string[] = []
  let line = ''
  for (const number of rounded(model)) {
    const text = `${number}, `
    if (line.length + text.length > COLUMNS) {
      lines.push(line.trimEnd())
      line = ''
    }
    line += text
  }
  lines.push(line.trimEnd())
  return `// Written by bench/vad/train.ts: docs/VAD.md says how, and what they are derived from.

/** The numbers of the voice detector's units, in the order of \`voice-kernel.ts\`. */
export const VOICE_MODEL: readonly number[] = [
${lines.map((numbers) => `  ${numbers}`).join('\n')}
]
`
}
