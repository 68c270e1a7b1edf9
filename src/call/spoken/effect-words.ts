import { z } from 'zod'
import { spokenSchema as spoken } from './localized-text.js'

/** `afterEffect` of an agent's file. */
export const afterEffectSchema = z
  .strictObject({
    done: spoken
      .default({ en: 'What you asked for has been done.', sw: 'Ulichoomba kimefanyika.' })
      .describe('Said where the tool has succeeded.'),
    failed: spoken
      .default({ en: 'What you asked for could not be done.', sw: 'Ulichoomba hakikuweza kufanyika.' })
      .describe('Said where the tool has failed.'),
    uncertain: spoken
      .default({
        en: 'I could not find out whether what you asked for was done. Please ask us again later.',
        sw: 'Sikuweza kujua kama ulichoomba kimefanyika. Tafadhali tuulize tena baadaye.',
      })
      .describe('Said where nobody knows.'),
  })
  .describe(
    'Words of the gateway about a tool with an effect, where it waited for the tool before it ended or handed over a call, and the agent cannot say how that ended.',
  )

/** How a tool with an effect ended. */
export type EffectEnd = keyof z.output<typeof afterEffectSchema>
