/** Tickets of this process only: another gateway uses the same numbers. Replace this with a request to your own system. */
let tickets = 500

export const openTicket = {
  name: 'open_ticket',
  description: 'Opens a ticket for a technician, for the number that is calling. Say its number to the caller.',
  parameters: {
    properties: { subject: { type: 'string', minLength: 3, maxLength: 200, description: 'What is wrong, in a few words.' } },
    required: ['subject'],
  },
  sample: { subject: 'Dry run' },
  run: () => ({ number: String(++tickets) }),
}
