import { LEARNED_TURNS_VERSION } from '../../src/call/documents/learned-turns.js'
import type { LearnedTurns } from '../../src/call/documents/learned-turns.js'
import { countsOf, fittedModel, judgement, tooFew } from '../../src/call/turns/turn-learning.js'
import { learnedTable } from '../../src/cli/records/learn.js'
import { packageVersion } from '../../src/config/package-root.js'
import type { VadBank } from '../../src/media/vad/vad.js'
import { type HeardTurn, NOISES, RECORDED, type Speaker, TUNED_ON, heardTurns } from './corpus.js'
import { pausesOfTurn } from './measure.js'

/** Languages of the recordings that are used for learning. */
const LANGUAGES = ['en', 'fr']
/**
 * Features that are not learned here, because they would show how a turn was constructed: each sentence has one pause,
 * and one noise at one level. `mkondo learn` learns them from real calls.
 */
const DECIDED_HERE = ['spokenMs', 'phraseMs', 'earlierPauses', 'longestPauseMs', 'overNoiseDb'] as const
/** Kind of line that real calls have. */
const LINE = 'tel'
const HELD_OUT: readonly Speaker[] = RECORDED.filter((speaker) => !TUNED_ON.includes(speaker))

/**
 * Learns from recorded people in the way in which `mkondo learn` learns from calls. Other speakers judge the result.
 */
export async function learnedFromRecordings(
  vadBank: VadBank,
): Promise<{ readonly learned: LearnedTurns; readonly table: string; readonly worse: string | null }> {
  const made = (await turnsOf(TUNED_ON, vadBank)).flatMap((turn) => pausesOfTurn(turn, null))
  const model = fittedModel(made, DECIDED_HERE)
  const judged = (await turnsOf(HELD_OUT, vadBank)).flatMap((turn) => pausesOfTurn(turn, model))
  const { heldOut, worse } = judgement(judged)
  const learned: LearnedTurns = {
    version: LEARNED_TURNS_VERSION,
    build: packageVersion(),
    madeAt: new Date().toISOString(),
    agent: null,
    languages: LANGUAGES,
    made: { groups: TUNED_ON.length, ...countsOf(made) },
    heldOut: { groups: HELD_OUT.length, ...heldOut },
    model,
  }
  return { learned, table: learnedTable(learned), worse: tooFew(made, 'made') ?? tooFew(judged, 'heldOut') ?? worse }
}

async function turnsOf(speakers: readonly Speaker[], vadBank: VadBank): Promise<HeardTurn[]> {
  const turns: HeardTurn[] = []
  for (const speaker of speakers)
    for (const noise of NOISES) turns.push(...(await heardTurns(speaker, LINE, noise, vadBank, true)))
  return turns
}
