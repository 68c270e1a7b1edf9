/** The departments. Replace this table with a request to your own directory. */
const DEPARTMENTS = {
  sales: { hours: 'Monday to Friday from 8 AM to 6 PM' },
  support: { hours: 'every day from 7 AM to 9 PM' },
  accounts: { hours: 'Monday to Thursday from 9 AM to 4 PM' },
}

const department = { type: 'string', enum: Object.keys(DEPARTMENTS) }

export const findDepartment = {
  name: 'find_department',
  description: 'When a department is open.',
  parameters: { properties: { department }, required: ['department'] },
  // The tool only reads, so it may run again.
  idempotent: true,
  sample: { department: 'sales' },
  run: ({ department }) => DEPARTMENTS[department],
}

export const takeMessage = {
  name: 'take_message',
  description: 'Keeps a message for a department, with the number that is calling.',
  parameters: {
    properties: { department, about: { type: 'string', maxLength: 500, description: 'What it is about, in a few words.' } },
    required: ['department', 'about'],
  },
  sample: { department: 'sales', about: 'Dry run' },
  // `from` is the caller's number, or empty if the number is withheld. Send `from` and the message to your own system here.
  run: ({ department, about }, { from }) => ({ noted: department !== '' && about !== '', callBack: from !== '' }),
}
