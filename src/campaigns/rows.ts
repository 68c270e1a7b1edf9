import { createHash } from 'node:crypto'
import { callVariablesSchema } from '../agents/tools/call-variables.js'
import { NUMBER_COLUMNS, columnName, numberColumnOf, readAs, readTable } from '../agents/identity/spreadsheet.js'
import { codeOf } from '../call/spoken/localized-text.js'
import { holdsDates, saidFault, valueFault } from '../call/tools/value-fault.js'
import { isTimeZone } from '../core/local-time.js'
import { numberToCall, partyKey } from '../sautikit/phone.js'
import { ringFault } from '../sautikit/ringing.js'
import { ROWS_MAX } from './campaign.js'
import type { Row } from './campaign.js'

/** Maximum number of listed faults; further faults are counted. */
const FAULTS_MAX = 100
const LABEL_CHARS_MAX = 200

const ID_COLUMNS = ['id', 'external_id', 'row_id']
const ZONE_COLUMNS = ['time_zone', 'timezone', 'zone']

interface ReadRowsOptions {
  readonly campaign: string
  readonly agent: string
  readonly from: string | null
  /** Variables that the agent reads; each is a column. */
  readonly reads: ReadonlySet<string>
  /** Languages of the agent; the variable `language` of a row must be one of these languages. */
  readonly languages: readonly string[]
  /** Value of OUTBOUND_PREFIXES. */
  readonly prefixes: readonly string[]
}

interface ReadRows {
  readonly rows: readonly Row[]
  /** Faults with their lines, without words of the file. */
  readonly faults: readonly string[]
  /** Number of further faults, which are not listed. */
  readonly more: number
}

/**
 * Reads the rows of a campaign from CSV with a header. The columns are the phone number, optionally `id` and
 * `time_zone`, and the variables. A file with a fault is refused.
 */
export function readRows(csv: string, options: ReadRowsOptions): ReadRows {
  const faults: string[] = []
  const fault = (text: string): void => void faults.push(text)
  const table = readTable(csv)
  if ('fault' in table) return { rows: [], faults: [table.fault], more: 0 }
  const { records } = table
  const special = [...NUMBER_COLUMNS, ...ID_COLUMNS, ...ZONE_COLUMNS]
  const wanted = [...options.reads]
  const columns = table.columns.map((header) => {
    const name = columnName(header)
    return special.includes(name) ? name : (readAs(header, wanted, table.columns) ?? name)
  })
  const numberColumn = columns[numberColumnOf(columns)]
  if (numberColumn === undefined)
    return { rows: [], faults: [`there is no column for the number; allowed: ${NUMBER_COLUMNS.join(', ')}`], more: 0 }
  const idColumn = ID_COLUMNS.find((name) => columns.includes(name))
  const zoneColumn = ZONE_COLUMNS.find((name) => columns.includes(name))
  const own = [numberColumn, idColumn, zoneColumn]
  const head = `line ${table.line}`
  const twice = columns.filter((name, index) => name !== '' && columns.indexOf(name) !== index)
  if (twice.length > 0) fault(`${head}: has a column twice: ${[...new Set(twice)].join(', ')}`)
  /** Returns the column of a variable that the agent reads. */
  const columnOf = (name: string): string => (columns.includes(name) ? name : columnName(name))
  const missing = wanted.filter((name) => !columns.includes(columnOf(name)))
  if (missing.length > 0) fault(`${head}: lacks ${missing.join(', ')}, which the agent reads`)
  if (records.length === 0) fault('there is no row')
  if (records.length > ROWS_MAX) fault(`there are ${records.length} rows; allowed: at most ${ROWS_MAX}`)
  const dates = new Set(columns.filter((_, index) => holdsDates(records.map(({ cells }) => cells[index] ?? ''))))
  const read = new Set(wanted.map(columnOf))
  const lines = new Map<string, number>()
  const rows: Row[] = []
  for (const { line, cells } of records.slice(0, ROWS_MAX)) {
    const at = `line ${line}`
    const unnamed = cells.findIndex((cell, index) => cell !== '' && (columns[index] ?? '') === '')
    if (unnamed >= 0) fault(`${at}: has a value in column ${unnamed + 1}, which has no name in ${head}`)
    if (cells.some((cell) => valueFault(cell, { field: '' }) === 'lost-letters'))
      fault(`${at}: has ${saidFault('lost-letters')}`)
    const record = Object.fromEntries(
      columns.map((name, index): [string, string] => [name, cells[index] ?? '']).filter(([name]) => name !== ''),
    )
    const written = record[numberColumn] ?? ''
    const called = numberToCall(written)
    if ('fault' in called) {
      fault(`${at}: ${written === '' ? 'has no number' : `has a number that ${called.fault}`}`)
      continue
    }
    const { number: to } = called
    const unringable = ringFault(to, options.from ?? '', options.prefixes)
    if (unringable !== null) fault(`${at}: has a number that ${unringable}`)
    const before = lines.get(partyKey(to))
    if (before !== undefined) fault(`${at}: has the number of line ${before}`)
    lines.set(partyKey(to), line)
    const timeZone = blankless(zoneColumn === undefined ? '' : record[zoneColumn])
    if (timeZone !== null && !isTimeZone(timeZone))
      fault(`${at}: has a time zone that does not exist; allowed: such as Africa/Nairobi`)
    const externalId = blankless(idColumn === undefined ? '' : record[idColumn])
    if ((externalId?.length ?? 0) > LABEL_CHARS_MAX) fault(`${at}: its id has more than ${LABEL_CHARS_MAX} characters`)
    const named = Object.entries(record).filter(([name, value]) => {
      if (own.includes(name) || value === '') return false
      const empty = valueFault(value, { field: name, own: to, dates: dates.has(name) })
      // A column that the agent does not read may contain such a value. The value is left out and is not a fault.
      if (empty !== null && read.has(name)) fault(`${at}: has in ${name} ${saidFault(empty)}`)
      return empty === null
    })
    // Names get the spelling of the agent's file.
    const variables = Object.fromEntries(
      named.map(([name, value]) => [wanted.find((one) => columnOf(one) === name) ?? name, value]),
    )
    const values = callVariablesSchema.safeParse(variables)
    if (!values.success) {
      const [issue] = values.error.issues
      fault(`${at}: ${issue?.path.join('.') ?? ''}: ${issue?.message ?? ''}`)
    }
    const { language } = variables
    if (language !== undefined && !options.languages.some((tag) => tag === language || codeOf(tag) === language))
      fault(`${at}: has a language that the agent does not speak; allowed: ${options.languages.join(', ')}`)
    const empty = wanted.filter((name) => !missing.includes(name) && (record[columnOf(name)] ?? '') === '')
    if (empty.length > 0) fault(`${at}: has no ${empty.join(', ')}, which the agent reads`)
    rows.push({
      id: `r${createHash('sha256')
        .update(`${options.campaign}\n${externalId ?? partyKey(to)}`)
        .digest('hex')
        .slice(0, 24)}`,
      campaign: options.campaign,
      agent: options.agent,
      to,
      from: options.from,
      variables: values.success ? values.data : {},
      externalId,
      timeZone,
      dueMs: 0,
      tries: [],
      result: null,
      agentLostMs: null,
      withoutHuman: false,
      asked: null,
      recovers: null,
    })
  }
  return {
    rows: faults.length === 0 ? rows : [],
    faults: faults.slice(0, FAULTS_MAX),
    more: Math.max(0, faults.length - FAULTS_MAX),
  }
}

function blankless(text: string | undefined): string | null {
  return text === undefined || text === '' ? null : text
}
