import { heldRuns, spread } from './checks.js'
import { machineLines } from './kit/machine.js'
import { collectionsBy } from './protocol.js'
import { lineThrough, mainThreadFullAt, sizeWords } from './plan.js'
import type { BenchResults, CaseResult, Speed } from './results.js'

/** Report of the results for a terminal. */
export function terminalReport(results: BenchResults): string {
  return [
    ...heading(results),
    ...microTable(results),
    ...caseTables(results),
    ...messageTable(results),
    ...fewTable(results),
    ...growthTable(results),
    ...capacityLines(results),
    ...results.notes.map((note) => `note: ${note}`),
    ...results.skipped.map(({ name, why }) => `skipped: ${name}: ${why}`),
    ...checkLines(results),
    '',
  ].join('\n')
}

function heading({ provenance }: BenchResults): string[] {
  const { versions } = provenance
  return [
    '',
    `mkondo bench, commit ${provenance.commit}, ${provenance.at}`,
    `  ${provenance.command}`,
    ...machineLines(provenance).map((line) => `  ${line}`),
    `  ${['node', 'uWebSockets.js', 'ws', 'piscina'].flatMap((name) => (versions[name] === undefined ? [] : [`${name} ${versions[name]}`])).join(', ')}`,
    '  Generator and stand-in backend share these cores with the server; each is accounted for by itself.',
    '',
  ]
}

/** Text columns, padded to the widest cell. */
export function table(rows: readonly (readonly string[])[]): string[] {
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => (row[column] ?? '').length)))
  return rows.map((row) =>
    row
      .map((cell, column) => (column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0)))
      .join('  ')
      .trimEnd(),
  )
}

/** Text columns for rows. Each column has a title and a function that makes the cell of a row. */
export function columns<Row>(
  rows: readonly Row[],
  ...all: readonly (readonly [title: string, cell: (row: Row) => string | number])[]
): string[] {
  return table([all.map(([title]) => title), ...rows.map((row) => all.map(([, cell]) => String(cell(row))))])
}

function microTable({ micro }: BenchResults): string[] {
  if (micro.length === 0) return []
  return [
    'Steps alone (20 ms frames; * a peer)',
    ...columns(
      micro,
      ['  step', ({ peer, name }) => `${peer ? '* ' : '  '}${name}`],
      ['us median', ({ usP50 }) => usP50.toFixed(2)],
      ['min-max', ({ usMin, usMax }) => `${usMin.toFixed(2)}-${usMax.toFixed(2)}`],
      ['calls/core', ({ framesPerSecondPerCore }) => Math.round(framesPerSecondPerCore / 50)],
      ['heap B/frame', ({ heapBytesPerFrame: bytes }) => (bytes === null ? '-' : Math.round(bytes))],
    ),
    '',
  ]
}

function caseTables({ cases }: BenchResults): string[] {
  const lines: string[] = []
  for (const level of [...new Set(cases.map((one) => one.options.level))].toSorted()) {
    const rows = [
      [
        'subject',
        'calls',
        'CPU ms/call/s',
        'min-max',
        'us/frame',
        'added p50',
        'p99',
        'p99.9',
        'whole p99',
        'KB/call',
        'message ms',
        'generator',
        'backend',
        'heap B/frame',
        'runs',
      ],
    ]
    const here = cases.filter((one) => one.options.level === level)
    for (const subject of new Set(here.map((one) => one.options.subject))) {
      const held = heldRuns(cases, subject, level)
      const all = here.filter((one) => one.options.subject === subject)
      if (held.length > 0) rows.push(speedRow(subject, held, all))
    }
    lines.push(`Level ${level}`)
    if (rows.length > 1) lines.push(...table(rows))
    // If the audio of a run was wrong, its speed is not printed. The faults are printed instead.
    lines.push(...notHeld(here, ({ subject, calls }) => `${subject} with ${calls} calls`), ...bargeInLines(here))
    lines.push(...collectionLines(here), '')
  }
  return lines
}

/**
 * Lines about collections of whole heaps while servers were measured. Each of these collections blocks all calls of its
 * thread.
 */
function collectionLines(cases: readonly CaseResult[]): string[] {
  return [...new Set(cases.map(({ options }) => options.subject))].flatMap((subject) => {
    const runs = cases.flatMap(({ options, pauses }) => (options.subject === subject && pauses ? [pauses] : []))
    if (runs.length === 0) return []
    const all = collectionsBy((reason) => runs.reduce((sum, { collections }) => sum + collections[reason], 0))
    const longestMs = Math.max(...runs.map(({ gcMaxMs }) => gcMaxMs))
    return [
      `${subject}: collections of a whole heap ${all['garbage-major']}, for memory outside of it ${all['garbage-external']},` +
        ` by V8's memory reducer ${all['garbage-reducer']}; of young objects ${all['garbage-minor']}; the longest ${longestMs.toFixed(1)} ms`,
    ]
  })
}

/** Faults of the runs that did not hold. */
function notHeld(cases: readonly CaseResult[], nameOf: (options: CaseResult['options']) => string): string[] {
  return cases
    .filter(({ speed }) => speed === null)
    .map(({ verdict, options, reasons }) => `${verdict}: ${nameOf(options)}: ${reasons.join('; ')}`)
}

function speedRow(subject: string, runs: readonly CaseResult[], all: readonly CaseResult[]): string[] {
  const held = runs.flatMap((one) => (one.speed === null ? [] : [one.speed]))
  const median = (pick: (speed: Speed) => number | null | undefined, digits: number): string => {
    const values = held.map(pick).filter((value) => value !== null && value !== undefined)
    return spread(values)?.median.toFixed(digits) ?? '-'
  }
  const cpu = spread(held.map((speed) => speed.cpuMsPerCallSecond))
  const memory = all.find((one) => one.memory?.bytesPerCall != null)?.memory?.bytesPerCall
  const message = spread(runs.flatMap(({ backend }) => (backend === null ? [] : [backend.audioMs / backend.appends])))
  const heap = spread(
    held.flatMap((speed) =>
      speed.heapBytesPerFrame === null ? [] : [speed.heapBytesPerFrame.main + speed.heapBytesPerFrame.workers],
    ),
  )
  return [
    subject,
    String(runs[0]?.options.calls),
    cpu?.median.toFixed(2) ?? '-',
    cpu === null ? '-' : `${cpu.min.toFixed(2)}-${cpu.max.toFixed(2)}`,
    median((speed) => speed.cpuUsPerFrame, 1),
    median((speed) => speed.addedMs?.p50, 1),
    median((speed) => speed.addedMs?.p99, 1),
    median((speed) => speed.addedMs?.p999, 1),
    median((speed) => speed.wholeMs?.p99, 1),
    memory == null ? '-' : (memory / 1000).toFixed(0),
    message === null ? '-' : message.median.toFixed(0),
    `${median((speed) => speed.generatorCores, 2)} core`,
    `${median((speed) => speed.backendCores, 2)} core`,
    heap === null ? '-' : heap.median.toFixed(0),
    `${held.length}/${all.length}`,
  ]
}

function bargeInLines(cases: readonly CaseResult[]): string[] {
  return cases.flatMap(({ speed, options }) =>
    speed?.stopMs == null
      ? []
      : [
          `${options.subject}: ${speed.bargeIns.stopped} of ${speed.bargeIns.tried} interruptions stopped the agent, p50 ${speed.stopMs.p50.toFixed(0)} ms, ` +
            `p99 ${speed.stopMs.p99.toFixed(0)} ms after the first voiced sample; then ${speed.heldMs === null ? 'nothing' : `${speed.heldMs.p50.toFixed(0)} ms`} still lay with the carrier, which was flushed`,
        ],
  )
}

function messageTable({ messages }: BenchResults): string[] {
  if (messages.length === 0) return []
  const lengths = [...new Set(messages.map((one) => one.options.messageMs))]
  const rows = lengths.flatMap((messageMs) => {
    const runs = messages.filter((one) => one.options.messageMs === messageMs)
    const held = runs.flatMap((one) => (one.speed === null ? [] : [one.speed]))
    const cpu = spread(held.map((speed) => speed.cpuMsPerCallSecond))
    if (cpu === null) return []
    const p99 = (pick: (speed: Speed) => number | undefined): string =>
      spread(held.flatMap((speed) => pick(speed) ?? []))?.median.toFixed(1) ?? '-'
    return [
      [
        `${messageMs} ms`,
        cpu.median.toFixed(2),
        `${cpu.min.toFixed(2)}-${cpu.max.toFixed(2)}`,
        p99((speed) => speed.addedMs?.p99),
        p99((speed) => speed.wholeMs?.p50),
        p99((speed) => speed.wholeMs?.p99),
        `${held.length}/${runs.length}`,
      ],
    ]
  })
  return [
    `Messages to the backend (mkondo at L2, ${messages[0]?.options.calls} calls)`,
    ...table([
      ['caller audio in one', 'CPU ms/call/s', 'min-max', 'added p99', 'whole p50', 'whole p99', 'runs'],
      ...rows,
    ]),
    ...notHeld(messages, ({ messageMs }) => `${messageMs} ms`),
    '',
  ]
}

function fewTable({ idle, few }: BenchResults): string[] {
  const asleep = [...new Set(idle.map(({ backend }) => backend))].map((backend) => {
    const runs = idle.filter((one) => one.backend === backend)
    const memory = spread(runs.map(({ rssBytes }) => rssBytes / 1e6))
    const cpu = spread(runs.map(({ cpuMsPerSecond }) => cpuMsPerSecond))
    const median = (values: typeof memory): string => values?.median.toFixed(0) ?? '-'
    return [`no call, backend ${backend}`, median(memory), median(cpu), '-', `${runs.length}/${runs.length}`]
  })
  const awake = [...new Set(few.map((one) => one.options.calls))].map((calls) => {
    const runs = few.filter((one) => one.options.calls === calls)
    const held = runs.flatMap(({ speed }) => (speed === null ? [] : [speed]))
    const cpu = spread(held.map((speed) => speed.cpuMsPerCallSecond * calls))
    const added = spread(held.flatMap(({ addedMs }) => addedMs?.p99 ?? []))
    const text = (value: typeof cpu, digits: number): string => value?.median.toFixed(digits) ?? '-'
    return [`${calls} calls at L2-prod`, '-', text(cpu, 0), text(added, 1), `${held.length}/${runs.length}`]
  })
  if (asleep.length + awake.length === 0) return []
  return [
    'No call and few calls (mkondo, one media worker)',
    ...table([['what', 'resident MB', 'CPU ms/s', 'added p99', 'runs'], ...asleep, ...awake]),
    ...notHeld(few, ({ calls }) => `${calls} calls`),
    '',
  ]
}

function growthTable({ growth }: BenchResults): string[] {
  if (growth.length === 0) return []
  const held = growth.flatMap(({ options, speed }) => (speed === null ? [] : [{ options, speed }]))
  const lines = [...new Set(held.map(({ options }) => options.level))].flatMap((level) => {
    const here = held.filter(({ options }) => options.level === level)
    const line = lineThrough(
      here.map(({ options, speed }) => [options.calls, speed.cpuMsPerCallSecond * options.calls]),
    )
    return line === null
      ? []
      : [
          `${level}: a call more costs ${line.slope.toFixed(2)} ms a second, ${line.atZero.toFixed(0)} ms do not depend on their number (R² ${line.rSquared.toFixed(3)})`,
        ]
  })
  return [
    `Many calls (mkondo, one in ${growth[0]?.options.truthEvery} judged in full, the others send ${growth[0]?.options.dutyPercent} % of the time)`,
    ...columns(
      held,
      ['what', ({ options: { level, calls } }) => `${level}, ${calls} calls`],
      ['CPU ms/call/s', ({ speed }) => speed.cpuMsPerCallSecond.toFixed(2)],
      ['main', ({ speed }) => speed.mainMsPerCallSecond.toFixed(2)],
      ['added p99', ({ speed }) => speed.addedMs?.p99.toFixed(1) ?? '-'],
      ['generators', ({ speed }) => `${speed.generatorCores.toFixed(2)} core`],
    ),
    ...lines,
    ...notHeld(growth, ({ level, calls }) => `${level}, ${calls} calls`),
    '',
  ]
}

function capacityLines({ capacities, scale }: BenchResults): string[] {
  const lines = [...capacities, ...scale].flatMap((capacity) => {
    const full = mainThreadFullAt(capacity)
    return [
      `Capacity: ${capacity.subject} at ${capacity.level} with ${sizeWords(capacity)} carried ${capacity.calls} calls with p99 under ${capacity.limitMs} ms` +
        ` on this machine, generator and backend beside it; beyond: ${capacity.beyond}`,
      ...(full === null
        ? []
        : [
            `  main thread${capacity.processes === 1 ? '' : 's'}: full at about ${full} calls by what the busiest uses per call; then more processes are needed`,
          ]),
    ]
  })
  return lines.length === 0 ? [] : [...lines, '']
}

function checkLines({ checks }: BenchResults): string[] {
  return [
    'Against the design',
    ...table(
      checks.map((one) => [
        `${one.ok === null ? '   ' : one.ok ? 'yes' : 'NO '} ${one.name}`,
        one.measured,
        one.wanted,
      ]),
    ),
  ]
}
