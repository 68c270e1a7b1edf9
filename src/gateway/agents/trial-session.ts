import type { AgentDefinition } from '../../agents/file/definition.js'
import type { BackendSession } from '../../backends/backend.js'
import type { BackendContext } from '../../backends/backend-context.js'
import type { BackendSettings } from '../../backends/registry.js'
import { textIn } from '../../call/spoken/localized-text.js'
import type { LocalizedText } from '../../call/spoken/localized-text.js'
import type { LegRateHz } from '../../core/units.js'

/**
 * Session of an agent's backend without a call, for `mkondo check` and for phrases at the console.
 * @param name  name of the backend
 * @param language  tag of the first language
 */
export function trialSession(
  definition: AgentDefinition,
  name: string,
  settings: BackendSettings,
  legRateHz: LegRateHz,
  language = definition.languages[0] ?? '',
): { readonly context: BackendContext; readonly session: BackendSession } {
  const voice: LocalizedText | undefined = definition.voice[name]
  return {
    context: {
      speech: null,
      clock: () => performance.now(),
      settings,
      options: definition.backends,
      gatewayTurns: false,
      gatewayInterrupts: definition.bargeIn.backchannel !== null,
      legRateHz,
    },
    session: {
      callSid: 'HD_trial',
      agent: definition.name,
      from: '',
      to: '',
      instructions: definition.instructions,
      greeting: definition.greeting === null ? null : textIn(definition.greeting, language),
      tools: definition.tools.map(({ name: tool, description, parameters }) => ({
        name: tool,
        description,
        parameters,
      })),
      language,
      languages: definition.languages,
      voice: voice === undefined ? null : textIn(voice, language),
      history: [],
      toolLedger: [],
      offline: definition.offline ?? null,
      resume: null,
    },
  }
}
