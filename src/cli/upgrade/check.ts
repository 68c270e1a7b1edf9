import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import { loadConfig } from '../../config/load-config.js'
import { readReceivers } from '../../config/messages-file.js'
import { packageVersion } from '../../config/package-root.js'
import { SETTINGS } from '../../config/settings.js'
import type { Config } from '../../config/settings.js'
import { messageOf } from '../../core/errors.js'
import { jsonObject } from '../../core/json.js'
import type { Setting } from '../../core/setting.js'
import { agentEnvironment } from '../../gateway/agents/agent-environment.js'
import { hostedAgents } from '../../gateway/agents/hosted-agents.js'
import type { HostedAgent } from '../../workers/main/main-thread-context.js'
import { namesIn } from '../../backends/split.js'
import { dataFolders } from '../../gateway/process-plan.js'
import { useCountry } from '../../sautikit/phone.js'
import { eachVersion } from '../../workers/main/canary.js'
import { needsDemoShop } from '../demo/demo-shop.js'
import { journalLines, keptJournals } from '../records/journal-files.js'
import { differenceLine } from '../records/replay-report.js'
import { replayer } from '../records/replay.js'
import { environmentOf } from '../serve/serve-plans.js'
import { bad, findingLine, good, json, lookAt } from '../terminal.js'
import type { Finding, Terminal } from '../terminal.js'
import { CHANGES, REWRITES, isBefore, worksWith } from './changes.js'
import { readRunningFleet } from './running-fleet.js'
import type { RunningNode } from './running-fleet.js'
import { folderHash, readStoredForms } from './stored-forms.js'
import type { FoundForm } from './stored-forms.js'

/** Options of `mkondo upgrade`. */
export interface UpgradeOptions {
  readonly check?: true
  readonly from?: string
  readonly journals: number
  readonly config?: string
  readonly envFile?: string
  readonly json?: true
}

/** Maximum number of differences that are listed for one replayed call. */
const DIFFERENCES_SHOWN_MAX = 5

/**
 * Runs `mkondo upgrade --check`, in the new version.
 * @returns 2 if a change is needed, 1 if something should be checked
 */
export async function checkUpgrade(options: UpgradeOptions, terminal: Terminal): Promise<number> {
  const env = environmentOf(terminal.env, options.envFile ?? null)
  const to = packageVersion()
  const findings: Finding[] = []
  let config: Config | null = null
  try {
    config = loadConfig(env, options.config ?? null)
    findings.push(good('settings'))
  } catch (thrown) {
    findings.push(...faultsOf(thrown))
  }
  let from = options.from ?? null
  if (config !== null) {
    const folder = existsSync(config.dataDir) ? resolve(config.dataDir) : null
    const before = folder === null ? null : hashOrFault(folder)
    const fleet = await fleetFindings(config, to)
    from ??= fleet.versions[0] ?? (folder === null ? null : writtenBy(folder))
    findings.unshift(
      from === null
        ? lookAt(`from an unknown version (no node, no journal; --from names it) to ${to}: all changes count`)
        : good(`from ${from} to ${to}`),
    )
    findings.push(...(await agentFindings(config, env, from)))
    if (config.messagesFile !== null) findings.push(receiversFinding(config, env))
    if (folder === null) findings.push(good(`DATA_DIR ${config.dataDir} does not exist: nothing is stored`))
    else findings.push(...storedFindings(folder), ...(await replayFindings(folder, options.journals)))
    findings.push(...fleet.findings)
    if (folder !== null && before !== null) findings.push(untouchedFinding(folder, before))
  }
  if (options.json === true) terminal.out(json({ from, to, findings }))
  else for (const finding of findings) terminal.out(findingLine(finding, terminal))
  return findings.some(({ ok }) => ok === false) ? 2 : findings.some(({ ok }) => ok === null) ? 1 : 0
}

/** Findings for the faults of a file or of settings, one for each line. A known correction is added. */
function faultsOf(thrown: unknown): Finding[] {
  return messageOf(thrown)
    .split('\n')
    .map((line) => bad(withRewrite(line)))
}

function withRewrite(fault: string): string {
  const found = REWRITES.find((one) => one.fault.test(fault))
  return found === undefined ? fault : `${fault}; rewrite: ${found.rewrite}`
}

async function agentFindings(
  given: Config,
  env: Readonly<Record<string, string | undefined>>,
  from: string | null,
): Promise<Finding[]> {
  const config = needsDemoShop(given, false) ? { ...given, shopApiUrl: 'http://127.0.0.1' } : given
  useCountry(config.country)
  const findings: Finding[] = []
  let agents: ReadonlyMap<string, HostedAgent> = new Map()
  try {
    const hosted = await hostedAgents(config, agentEnvironment(env, config), undefined, env)
    agents = hosted.agents
    findings.push(good(`agents: ${[...agents.keys()].join(', ')}`))
    findings.push(
      ...hosted.faults.map(({ file, line, col, what }) => bad(withRewrite(`${file}:${line}:${col} ${what}`))),
    )
    const { fault, businesses } = hosted.numbers
    if (config.numbersFile !== null)
      findings.push(...(fault === '' ? [good(`NUMBERS_FILE: ${businesses.size} numbers`)] : faultsOf(new Error(fault))))
  } catch (thrown) {
    findings.push(...faultsOf(thrown))
  }
  const installation = {
    config,
    set: setNames(config, env),
    agents: eachVersion(agents).map(([, { definition, shares }]) => ({ definition, backends: namesIn(shares) })),
  }
  for (const { until, place, concerns, what, rewrite } of CHANGES)
    if (isBefore(from, until) && concerns(installation))
      findings.push(lookAt(`${place}: ${what}; rewrite: ${rewrite} (changed after ${until})`))
  return findings
}

/** Variables of settings that the operator has set, in the environment or in the file. */
function setNames(config: Config, env: Readonly<Record<string, string | undefined>>): Set<string> {
  const all = Object.entries(SETTINGS) as readonly (readonly [keyof Config, Setting<unknown>])[]
  return new Set(
    all.flatMap(([name, setting]) => {
      const isInEnv = (env[setting.env] ?? '') !== ''
      return isInEnv || JSON.stringify(config[name]) !== JSON.stringify(setting.fallback) ? [setting.env] : []
    }),
  )
}

function receiversFinding(config: Config, env: Readonly<Record<string, string | undefined>>): Finding {
  try {
    const receivers = readReceivers(config.messagesFile ?? '', env, config.numbersFile !== null)
    return good(`MESSAGES_FILE: ${receivers.length} receivers`)
  } catch (thrown) {
    return bad(withRewrite(messageOf(thrown)))
  }
}

function storedFindings(folder: string): Finding[] {
  let forms: ReturnType<typeof readStoredForms>
  try {
    forms = readStoredForms(folder)
  } catch (thrown) {
    return [bad(`stored: ${messageOf(thrown)}`)]
  }
  if (forms.length === 0) return [good(`DATA_DIR ${folder} has no stored documents`)]
  return forms.flatMap((form) => formFindings('stored', form))
}

/** @param place place of the documents */
function formFindings(place: string, { noun, count, faults, faulty }: FoundForm): Finding[] {
  return [
    ...(faulty === 0 ? [good(`${place}: ${count} of the form "${noun}" are read`)] : []),
    ...faults.map((fault) => bad(`${place}: ${noun}: ${fault}`)),
    ...(faulty > faults.length ? [bad(`${place}: ${noun}: ${faulty - faults.length} more of ${count}`)] : []),
  ]
}

/** Paths of the newest journals of a data folder. */
function journalsOf(folder: string, count: number): readonly string[] {
  return keptJournals(dataFolders(folder))
    .slice(0, count)
    .map(({ path }) => path)
}

/**
 * Maximum number of journals that are read to find the newest readable one. A gateway may still be writing the newest
 * journals.
 */
const NEWEST_MAX = 5

/** Version that wrote the newest readable journal; null if no journal can be read. */
function writtenBy(folder: string): string | null {
  for (const path of journalsOf(folder, NEWEST_MAX)) {
    try {
      const build = jsonObject(journalLines(path)[0] ?? '')?.['build']
      if (typeof build === 'string') return build
    } catch {
      // The file no longer exists, or its last line is not complete yet.
    }
  }
  return null
}

/** Replays recorded calls in this version. An unreadable call does not hide the results of the other calls. */
async function replayFindings(folder: string, count: number): Promise<Finding[]> {
  const files = journalsOf(folder, count)
  if (files.length === 0) return [good('no journals to replay (JOURNAL_CALLS)')]
  const replayOf = await replayer({ settings: [], decisions: true, audio: true })
  const findings: Finding[] = []
  let same = 0
  for (const file of files) {
    try {
      const verdict = replayOf(file, journalLines(file))
      const differences = verdict.same
        ? []
        : verdict.differences.map((one) => differenceLine(verdict.startMs, one).trim())
      if (differences.length === 0) same++
      else findings.push(lookAt(`replay: ${file} decides differently: ${differencesText(differences)}`))
    } catch (thrown) {
      findings.push(bad(`replay: ${messageOf(thrown)}`))
    }
  }
  return [good(`replay: ${same} of ${files.length} recorded calls have the same decisions as before`), ...findings]
}

function differencesText(differences: readonly string[]): string {
  const shown = differences.slice(0, DIFFERENCES_SHOWN_MAX)
  const more = differences.length - shown.length
  return `${shown.join('; ')}${more > 0 ? ` and ${more} more` : ''} (mkondo replay FILE --diff)`
}

async function fleetFindings(
  { redisUrl, redisPrefix, tokenSecrets }: Config,
  to: string,
): Promise<{ readonly findings: Finding[]; readonly versions: readonly string[] }> {
  if (redisUrl === null) return { findings: [], versions: [] }
  try {
    const { nodes, campaigns, unread, stored } = await readRunningFleet(redisUrl, redisPrefix, tokenSecrets)
    const versions = [...new Set(nodes.map(({ version }) => version))].toSorted((a, b) => (isBefore(a, b) ? -1 : 1))
    const findings = [
      ...unread.map((key) => bad(`REDIS_URL: ${key} cannot be read by ${to}`)),
      ...(campaigns > 0 ? [good(`REDIS_URL: ${campaigns} campaigns`)] : []),
      ...stored.flatMap((form) => formFindings('REDIS_URL', form)),
      ...stored.flatMap(({ noun, count, isCut }) =>
        isCut ? [lookAt(`REDIS_URL: ${noun}: only ${count} were read, and there are more`)] : [],
      ),
      ...orderFindings(nodes, versions, to),
    ]
    return { findings, versions }
  } catch (thrown) {
    return { findings: [bad(`REDIS_URL: ${messageOf(thrown)}`)], versions: [] }
  }
}

/** Reports whether nodes of both versions can work together, and the order in which to replace them. */
function orderFindings(nodes: readonly RunningNode[], versions: readonly string[], to: string): Finding[] {
  if (nodes.length === 0) return [good('REDIS_URL: no node runs')]
  const apart = versions.filter((version) => !worksWith(version, to))
  if (apart.length > 0)
    return [
      bad(
        `nodes of ${apart.join(', ')} do not work with nodes of ${to}: upgrade to the release between first, or stop all nodes, then start the new ones`,
      ),
    ]
  const order = nodes.toSorted((a, b) => rankOf(a) - rankOf(b) || a.calls - b.calls || (a.name < b.name ? -1 : 1))
  const names = order.map(({ name, version, calls }) => `${name} (${version}, ${calls} calls)`)
  return [
    good(`nodes of ${versions.join(', ')} and ${to} work as one fleet`),
    good(`replace one node after the other, with mkondo drain NODE: ${names.join(', ')}`),
    ...(versions.every((version) => version === to)
      ? []
      : [lookAt('publish agents with new keys, and search with them, only when all nodes run the new version')]),
  ]
}

/** Order in which nodes are replaced: nodes that accept no new calls come first. */
function rankOf({ state }: RunningNode): number {
  return ['draining', 'cordoned', 'open'].indexOf(state)
}

/** Hash of a folder before the check, or the reason why there is no hash. */
type Before = { readonly hash: string } | { readonly fault: string }

function hashOrFault(folder: string): Before {
  try {
    return { hash: folderHash(folder) }
  } catch (thrown) {
    return { fault: messageOf(thrown) }
  }
}

function untouchedFinding(folder: string, before: Before): Finding {
  const after = hashOrFault(folder)
  const fault = 'fault' in before ? before.fault : 'fault' in after ? after.fault : null
  if (fault !== null || !('hash' in before) || !('hash' in after))
    return lookAt(`DATA_DIR ${folder} was not compared with itself before the check: ${fault ?? ''}`)
  return after.hash === before.hash
    ? good(`DATA_DIR ${folder} is as it was: sha256 ${before.hash.slice(0, 16)} before and after`)
    : lookAt(`DATA_DIR ${folder} has changed during the check: a gateway writes to it. The check itself only reads`)
}
