import { readFile } from 'node:fs/promises'
import { messageOf } from '../../src/core/errors.js'
import { WrongOption } from '../kit/command.js'

/**
 * A row of τ-voice's leaderboard. Its callers differ from ours, so it only shows the order of magnitude beside our
 * figures.
 */
export interface PublishedRow {
  /** Model, date and domain. */
  readonly name: string
  readonly yieldRate: string
  readonly yieldLatencyS: string
  readonly responseLatencyS: string
  readonly agentInterrupts: string
  readonly backchannels: string
  readonly backchannelEvents: number
  readonly tics: string
  readonly others: string
}

const FORM = /^(.+) yield (\S+) LY (\S+) LR (\S+) IA (\S+) BC (\S+) n (\d+) VT (\S+) ND (\S+)$/

/**
 * Reads published rows, one per line: `MODEL DATE DOMAIN yield 0.99 LY 0.88 LR 4.4 IA 0.71 BC 0.75 n 8 VT 0.46 ND
 * 0.61`.
 * @throws WrongOption if the file cannot be read, or a line has another form
 */
export async function publishedRows(file: string): Promise<readonly PublishedRow[]> {
  const text = await readFile(file, 'utf8').catch((thrown: unknown) => {
    throw new WrongOption(`--published ${file} cannot be read: ${messageOf(thrown)}`)
  })
  const lines = text.split('\n').filter((line) => line.trim() !== '')
  return lines.map((line, i) => {
    const found = FORM.exec(line.trim())
    if (found === null)
      throw new WrongOption(
        `--published ${file}: line ${i + 1} is not "NAME yield N LY N LR N IA N BC N n N VT N ND N"`,
      )
    const [, name, yieldRate, yieldLatencyS, responseLatencyS, agentInterrupts, backchannels, count, tics, others] =
      found as unknown as readonly string[] & { readonly length: 10 }
    return {
      ...{ name, yieldRate, yieldLatencyS, responseLatencyS, agentInterrupts, backchannels, tics, others },
      backchannelEvents: Number(count),
    } as PublishedRow
  })
}
