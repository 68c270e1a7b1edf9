import { answerOf } from '../../../agents/offline/offline.js'
import type { OfflineDialogue } from '../../../agents/offline/offline.js'
import { END_CALL_TOOL, RESUME_TOOL } from '../../../call/tools/gateway-tools.js'

/** Name of the added state. Its colon makes it different from all names in an agent's file. */
const ASK = ':call-back'
const YES = ':yes'
const NO = ':no'

/**
 * Makes the dialogue for a caller who is called back after an interrupted call. The dialogue first asks if the caller
 * wants to continue, and then runs the agent's dialogue. During the question, the dialogue also accepts the intents
 * that the agent accepts everywhere.
 */
export function askedFirst(dialogue: OfflineDialogue): OfflineDialogue {
  const { callBack, digits, start, takeover = start } = dialogue
  const [, one = ''] = digits
  const yes = answerOf(callBack.yes)
  return {
    ...dialogue,
    start: ASK,
    takeover: ASK,
    intents: {
      ...dialogue.intents,
      // The greeting says "press 1", so some callers say the digit.
      [YES]: { ...yes, phrases: [...yes.phrases, one], keys: ['1'] },
      [NO]: { ...answerOf(callBack.no), keys: ['2'] },
    },
    states: {
      ...dialogue.states,
      [ASK]: {
        aside: false,
        steps: [
          { say: '{{greeting}}' },
          { listen: { slots: [], on: { [YES]: YES, [NO]: NO }, keys: 'any', retry: '{{greeting}}' } },
        ],
      },
      [YES]: {
        aside: false,
        steps: [
          // The gateway passes on a DTMF digit as text.
          { call: { tool: RESUME_TOOL, args: {}, repeatable: false }, when: { not: { equals: ['heard.by', 'text'] } } },
          { set: { greeting: callBack.goOn } },
          { goto: takeover },
        ],
      },
      [NO]: {
        aside: false,
        steps: [
          { say: callBack.goodbye },
          { call: { tool: END_CALL_TOOL, args: { reason: 'the caller does not want to go on' }, repeatable: false } },
          { stop: true },
        ],
      },
    },
  }
}
