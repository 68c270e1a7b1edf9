import type { Config } from '../../config/settings.js'
import type { AgentDefinition } from '../../agents/file/definition.js'
import { VENDORS } from '../../vendors/list.js'

/** An installation as the new version reads it. */
export interface Installation {
  readonly config: Config
  /** The settings that the operator has set, by the name of their variable. */
  readonly set: ReadonlySet<string>
  readonly agents: readonly { readonly definition: AgentDefinition; readonly backends: readonly string[] }[]
}

/** Breaking change that schemas cannot detect: the files stay valid, but their meaning changes. */
interface Change {
  /** Newest version with the old meaning. */
  readonly until: string
  /** Affected settings or keys. */
  readonly place: string
  /** True if the change affects this installation. */
  readonly concerns: (installation: Installation) => boolean
  readonly what: string
  /** Line to write: it keeps the old meaning, or makes the new version work. */
  readonly rewrite: string
}

const unset =
  (...names: readonly string[]) =>
  ({ set }: Installation): boolean =>
    names.every((name) => !set.has(name))

/** Breaking changes of CHANGELOG.md whose effect on an installation can be checked. */
export const CHANGES: readonly Change[] = [
  ...VENDORS.flatMap(({ changedDefaults = [] }) =>
    changedDefaults.map(({ until, setting, backend, was, now, rewrite }): Change => ({
      ...{ until, place: setting, rewrite },
      concerns: (one) => unset(setting)(one) && one.agents.some(({ backends }) => backends.includes(backend)),
      what: `its default is ${now}, and was ${was}`,
    })),
  ),
  {
    until: '0.1.0',
    place: 'OUTBOUND_PREFIXES',
    concerns: unset('OUTBOUND_PREFIXES'),
    what: 'only numbers in the country of the calling number are called, and only fixed lines and mobiles',
    rewrite: "outboundPrefixes: '+254,+255' names the countries that are called",
  },
  {
    until: '0.1.0',
    place: 'OPS_LISTEN_TOKEN',
    concerns: (one) => one.set.has('OPS_TOKEN') && unset('OPS_LISTEN_TOKEN')(one),
    what: 'recordings and journals need the right to listen, which OPS_TOKEN does not have any more',
    rewrite: 'opsListenToken: a token of its own, for whoever fetches them',
  },
  {
    until: '0.1.0',
    place: 'RECORDS_TRANSCRIPT',
    concerns: ({ config }) => config.recordsTranscript === 'none' && config.journalCalls !== 'off',
    what: 'RECORDS_TRANSCRIPT=none keeps no journals and no notes of call backs any more',
    rewrite: 'journalCalls: off says so, or recordsTranscript: full keeps them',
  },
  {
    until: '0.1.0',
    place: 'callbacks',
    concerns: ({ agents, ...one }) =>
      agents.some(({ definition }) => definition.escalation?.strategies.includes('callback') === true) &&
      unset('CALL_BACKS_PER_NUMBER_DAY', 'CALL_BACKS_PER_CALLER_DAY')({ agents, ...one }),
    what: 'at most two call backs a day are promised to one number, and three to one caller',
    rewrite: 'callBacksPerNumberDay: 2 and callBacksPerCallerDay: 3 are the limits',
  },
]

/**
 * Keys and settings that now have another name or form. `fault` matches the text of a fault about such a key or
 * setting.
 */
export const REWRITES: readonly { readonly fault: RegExp; readonly rewrite: string }[] = [
  {
    fault: /callbacks.*retryMinutes|retryMinutes/,
    rewrite: 'retryBusyMinutes: N and retryNoAnswerMinutes: N in place of retryMinutes',
  },
  {
    fault: /AGENT_ENV does not list/,
    rewrite:
      'agentEnv: the names of all variables that the agents read, such as CRM_TOKEN,SHOP_API_URL, in the settings',
  },
  {
    fault: /caller.*memory.*verification|verification.*caller.*memory/,
    rewrite: 'verification: questions to the caller, without which memory: is left out',
  },
  {
    fault: /module:.*(?:outside|agents folder|Node's own|data:|http:)/,
    rewrite: 'module:./FILE.js, with the file copied into the agents folder',
  },
]

/** True if `from` is not newer than `until`, or is unknown. */
export function isBefore(from: string | null, until: string): boolean {
  if (from === null) return true
  const parts = (version: string): number[] => version.split(/[.-]/).slice(0, 3).map(Number)
  const [a, b] = [parts(from), parts(until)]
  const at = a.findIndex((part, i) => part !== b[i])
  return at < 0 || (a[at] ?? 0) < (b[at] ?? 0)
}

/** True if nodes of these two versions can form one fleet (docs/RELEASES.md, "Formats"). */
export function worksWith(from: string, to: string): boolean {
  const [oldMajor = 0, oldMinor = 0] = from.split('.').map(Number)
  const [newMajor = 0, newMinor = 0] = to.split('.').map(Number)
  return oldMajor === newMajor && newMinor - oldMinor >= 0 && newMinor - oldMinor <= 1
}
