import t from 'tap'
import { faultyFields, holdsDates, valueFault, withoutNoValues } from '../../src/call/tools/value-fault.js'

t.test('words for a missing value are not spoken', (t) => {
  for (const value of [
    ...['null', 'NULL', 'Null', 'None', 'none', 'N/A', 'n/a', 'NaN', 'nan', 'NaT', 'undefined', 'nil', '(null)'],
    ...['-', '--', '—', '.', '...', '?', '[object Object]', 'hakuna', 'Hakuna', 'haijulikani', ' null ', '\\N', 'TBD'],
    ...[NaN, Infinity],
  ])
    t.equal(valueFault(value, { field: 'plan' }), 'no-value', String(value))
  t.end()
})

t.test('spreadsheet artefacts are not spoken', (t) => {
  for (const value of [
    '#N/A',
    '#REF!',
    '#VALUE!',
    '#NAME?',
    '#DIV/0!',
    '#NULL!',
    '#NUM!',
    '#SPILL!',
    '#BEZUG!',
    '#¿NOMBRE?',
    'Err:502',
  ])
    t.equal(valueFault(value, { field: 'plan' }), 'sheet-error', value)
  t.equal(valueFault('########', { field: 'plan' }), 'too-narrow')
  for (const value of ['1.23457E+11', '1,23457E+11', '1E+11', 1e21])
    t.equal(valueFault(value, { field: 'plan' }), 'shortened', String(value))
  for (const field of ['renewal_date', 'renewalDate', 'Date of birth', 'dob', 'tarehe'])
    for (const value of ['45987', 45987, '45987.5'])
      t.equal(valueFault(value, { field }), 'serial-date', `${field} ${value}`)
  t.equal(valueFault('45987', { field: 'since', dates: true }), 'serial-date')
  t.equal(valueFault('caf\ufffd', { field: 'name' }), 'lost-letters')
  t.end()
})

t.test('a phone number is not spoken as a name', (t) => {
  const own = '+254712345678'
  for (const field of ['name', 'first_name', 'firstName', 'jina', 'customer', 'mteja'])
    for (const value of [own, '0712345678', '0712 345 678', 254712345678])
      t.equal(valueFault(value, { field, own }), 'number', `${field} ${value}`)
  t.equal(valueFault('0733000001', { field: 'name', own }), 'number', "another's number is no name either")
  for (const field of ['phone', 'account_name', 'customer_number', 'user_name', 'plan', 'note'])
    t.equal(valueFault('0712345678', { field, own }), null, field)
  t.end()
})

t.test('names, codes and amounts are valid values', (t) => {
  for (const value of [
    'Na',
    'Nan',
    'Nil',
    'Nulla',
    'Nonhle',
    'O-',
    'A+',
    '#12',
    '12E4',
    'no',
    'la',
    'hapana',
    '0',
    0,
    false,
    '1.250,50',
  ])
    t.equal(valueFault(value, { field: 'name' }), null, String(value))
  for (const [field, value] of [
    ['amount_due', '45987'],
    ['order', '45987'],
    ['date', '2025-11-27'],
    ['date', '20251127'],
    ['status', 'unknown'],
    ['tank', 'empty'],
    ['customer', '1234567'],
  ] as const)
    t.equal(valueFault(value, { field }), null, `${field} ${value}`)
  t.equal(valueFault('unknown', { field: 'name' }), 'no-value')
  t.end()
})

t.test('a date column is recognised by its other values', (t) => {
  t.ok(holdsDates(['2025-11-27', '45987', '27/11/2025', '']))
  t.notOk(holdsDates(['45987', '46000']))
  t.notOk(holdsDates(['gold', '45987', '2025-11-27', 'silver']))
  t.end()
})

t.test('the model gets null instead of an unusable value', (t) => {
  const result = {
    name: 'N/A',
    rows: [{ eta: '#REF!', width: '####', plan: 'Home' }],
    ...{ name_no: 'Naomi', balance: 0, ok: false, at: null, day: '45987', word: 'José' },
  }
  const raw = structuredClone(result)
  t.same(withoutNoValues(result), {
    name: null,
    rows: [{ eta: null, width: null, plan: 'Home' }],
    ...{ name_no: 'Naomi', balance: 0, ok: false, at: null, day: '45987', word: 'José' },
  })
  t.same(result, raw, 'stages read the same object as before')
  t.same([withoutNoValues('hakuna'), withoutNoValues('Hakuna matata')], [null, 'Hakuna matata'])
  t.end()
})

t.test('faulty fields are named without their values', (t) => {
  const result = { name: 'null', list: [{ eta: '#REF!' }, { eta: '10:00' }], '+254712345678': 'N/A', plan: 'Home' }
  t.same(faultyFields(result, ''), ['name', 'eta', 'other'])
  t.same(
    faultyFields(
      Array.from({ length: 5000 }, () => ({ ok: 1 })),
      '',
    ),
    [],
  )
  t.end()
})
