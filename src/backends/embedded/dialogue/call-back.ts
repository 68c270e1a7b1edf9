import { answerOf } from '../../../agents/offline/offline.js'
import type { OfflineDialogue } from '../../../agents/offline/offline.js'
import { END_CALL_TOOL, RESUME_TOOL } from '../../../call/tools/gateway-tools.js'

/** No name of an agent's file has a colon. */
const ASK = ':call-back'
const YES = ':yes'
const NO = ':no'

/**
 * The dialogue of a caller who is rung back because their call was cut off: it asks whether they want to go on, before
 * anything of the agent's own dialogue. What is heard everywhere in that one is heard here too.
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
      // The greeting says "press 1": some say the digit.
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
          // The gateway itself took a digit, and passes it on as text.
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
