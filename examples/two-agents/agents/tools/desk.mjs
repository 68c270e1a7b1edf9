export const noteVisit = {
  name: 'note_visit',
  description: 'Notes that the caller wants to see a flat; a colleague writes to them.',
  parameters: { properties: { bedrooms: { type: 'integer', minimum: 1, maximum: 5 } }, required: ['bedrooms'] },
  sample: { bedrooms: 2 },
  run: ({ bedrooms }) => ({ noted: true, bedrooms }),
}
