import { getDefaultAutoSelectFamilyAttemptTimeout, setDefaultAutoSelectFamilyAttemptTimeout } from 'node:net'
import { defaultSpeechWorkers } from '../../config/settings.js'
import { CONNECT_ATTEMPT_MS } from '../../core/limits.js'
import { LookupCounts, installNameLookup } from '../../http/name-lookup.js'
import { SpeechPool } from '../../speech/speech-pool.js'
import { SPEECH_REFUSALS } from '../../speech/speech-protocol.js'
import { endOrphans, onEnded } from '../../system/program-mark.js'
import { holdDataFolder } from '../../telemetry/archive/data-folder.js'
import { KEPT_KINDS, keptNames } from '../../telemetry/archive/kept-files.js'
import { CallSeries } from '../../telemetry/call-series.js'
import { Metrics } from '../../telemetry/metrics.js'
import { endsOf } from '../agents/hosted-agents.js'
import { eachVersion } from '../../workers/main/canary.js'
import { usesDataFolder } from '../call-archive.js'
import { openJournals } from '../journal-files.js'
import { loadTraceExport } from '../on-demand.js'
import type { Part } from './part.js'
import type { Shared } from './shared.js'

/** DATA_DIR. Only one process at a time may write to it. */
export function dataFolderPart(shared: Shared<'inputs' | 'folder'>): Part {
  const { config, log } = shared.inputs
  return {
    name: 'data folder',
    start: async () => {
      const folder = usesDataFolder(config) ? await holdDataFolder(config.dataDir) : null
      shared.folder = folder
      const access = folder?.close() ?? 'closed'
      if (access === 'closes')
        log.info({ data_dir: config.dataDir }, 'other users could read DATA_DIR: its mode is now 0700')
      if (access === 'open')
        log.warn(
          { data_dir: config.dataDir },
          'DATA_DIR has records and recordings, and other users can read it: make it readable for this user alone (chmod 700)',
        )
      if (folder === null && KEPT_KINDS.some((kind) => keptNames(config.dataDir, kind).length > 0))
        log.warn(
          { data_dir: config.dataDir },
          'DATA_DIR has files of earlier calls, which are not deleted: with these settings the gateway stores no calls',
        )
    },
    stop: () => shared.folder?.release(),
  }
}

/** Name look-ups of this process, with a cache of addresses. */
export function connectionsPart(shared: Shared<'lookups'>): Part {
  const attemptMsBefore = getDefaultAutoSelectFamilyAttemptTimeout()
  let uninstall = (): void => undefined
  return {
    name: 'connections',
    start: () => {
      shared.lookups = new LookupCounts()
      uninstall = installNameLookup(shared.lookups)
      setDefaultAutoSelectFamilyAttemptTimeout(CONNECT_ATTEMPT_MS)
    },
    stop: () => {
      uninstall()
      setDefaultAutoSelectFamilyAttemptTimeout(attemptMsBefore)
    },
  }
}

/** Metrics and traces. */
export function telemetryPart(
  shared: Shared<'inputs' | 'agentFaults' | 'lookups' | 'metrics' | 'callSeries' | 'traces'>,
): Part {
  const { config, log, version, clock, numbers, agents, backends } = shared.inputs
  return {
    name: 'telemetry',
    start: async () => {
      const traces =
        config.otlpEndpoint === null
          ? null
          : new (await loadTraceExport()).TraceExport({
              endpoint: config.otlpEndpoint,
              version,
              instance: config.nodeName,
              log: log.component('telemetry'),
            })
      const metrics = new Metrics({
        version,
        ...(traces === null ? {} : { traceIdOf: (callSid: string) => traces.traceId(callSid) }),
      })
      shared.traces = traces
      shared.metrics = metrics
      metrics.nameLookupsFrom(shared.lookups.all)
      shared.callSeries = new CallSeries({ clock, callsMax: config.maxCallSeries })
      const spans = metrics.defineCounter('trace_spans', 'Spans of ended calls, by result', ['result'])
      metrics.countFrom(spans({ result: 'exported' }), () => traces?.exported ?? 0)
      metrics.countFrom(spans({ result: 'failed' }), () => traces?.failed ?? 0)
      metrics.countFrom(spans({ result: 'dropped' }), () => traces?.dropped ?? 0)
      const faults = metrics.defineLabelledGauge(
        'file_faults',
        'Errors in the files of agents and numbers. A file with an error is not in use, its previous version is in use, or an agent works without it',
        ['file'],
        'max',
      )
      faults.from({ file: 'agents' }, () => shared.agentFaults)
      faults.from({ file: 'numbers' }, () => numbers.faults)
      const ending = metrics.defineLabelledGauge(
        'models_ending',
        'Models of loaded agents that the vendor ends within 60 days, or has ended',
        ['state'],
        'max',
      )
      for (const state of ['soon', 'over'] as const)
        ending.from({ state }, () => {
          const ends = eachVersion(agents).flatMap(([, version]) => endsOf(backends, version, Date.now()))
          return new Set(ends.filter((end) => end.state === state).map(({ model }) => model)).size
        })
    },
    stop: async () => {
      await shared.traces?.close()
      shared.metrics.close()
    },
  }
}

/**
 * Processes that programs of the gateway, such as local MCP servers, have left behind. At the start this part ends
 * processes of gateways that were killed. The start does not wait for this.
 */
export function programsPart(shared: Shared<'inputs' | 'metrics'>): Part {
  const log = shared.inputs.log.component('programs')
  let stopListening = (): void => undefined
  let search = Promise.resolve()
  return {
    name: 'programs',
    start: () => {
      const { metrics } = shared
      for (const found of ['close', 'start'] as const) metrics.leftProcessesEnded({ found })
      stopListening = onEnded((count) => {
        metrics.leftProcessesEnded({ found: 'close' }).inc(count)
        log.warn({ count }, 'a closed program, such as an MCP server, had left processes, which were ended')
      })
      search = endOrphans().then((result) => {
        if (result === null)
          return log.info(
            {},
            'there is no /proc: a process that leaves the process group of its MCP server is not ended',
          )
        if (result.ended > 0) metrics.leftProcessesEnded({ found: 'start' }).inc(result.ended)
        if (result.ended > 0 || result.left > 0)
          log.warn({ ...result }, 'programs of a gateway that was killed still had processes, which were ended')
      })
    },
    stop: async () => {
      await search
      stopListening()
    },
  }
}

/** Offline recogniser and voice. Their threads start with the media workers, or at the first call. */
export function speechPart(shared: Shared<'inputs' | 'metrics' | 'speech'>): Part {
  const { config, log, workerEnv } = shared.inputs
  return {
    name: 'speech',
    start: () => {
      const { metrics } = shared
      // The series exist from the start with the value 0, so that a rate includes the first death.
      for (const pool of ['media', 'speech']) metrics.workerDeaths({ pool })
      const speech = new SpeechPool({
        workerEnv,
        threads: config.speechWorkers ?? defaultSpeechWorkers(),
        decodersPerThread: config.speechDecoders,
        onFault: (error) => {
          metrics.workerDeaths({ pool: 'speech' }).inc()
          log.component('speech').error({ err: error }, 'a speech worker died')
        },
      })
      shared.speech = speech
      metrics.workers.from({ pool: 'speech' }, () => speech.threads)
      metrics.workerTasks.from({ pool: 'speech' }, () => speech.stats.sessions)
      const refused = metrics.defineCounter(
        'speech_refused',
        'Utterances that the embedded recogniser missed, wholly or in part, because other callers used all decoders',
        ['reason'],
      )
      for (const reason of SPEECH_REFUSALS) metrics.countFrom(refused({ reason }), () => speech.refusals(reason))
    },
    stop: () => shared.speech.close(),
  }
}

export function journalsPart(shared: Shared<'inputs' | 'metrics' | 'journals'>): Part {
  const { config, log, clock } = shared.inputs
  return {
    name: 'journals',
    start: () => {
      shared.journals = openJournals(config, log, clock)
      shared.metrics.countOne(
        'recording_lines_dropped',
        'Lines of journals that could not be written',
        () => shared.journals?.dropped ?? 0,
      )
    },
    stop: () => shared.journals?.closeAll(),
  }
}
