export const noteDelivery = {
  name: 'note_delivery',
  description: 'Notes whether the person is at home for their delivery.',
  parameters: { properties: { atHome: { type: 'boolean' } }, required: ['atHome'] },
  sample: { atHome: true },
  // Whose delivery it is, your system knows by the `id` of the row: externalId in the record of the call.
  run: ({ atHome }) => ({ noted: true, atHome }),
}
