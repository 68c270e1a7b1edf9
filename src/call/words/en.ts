import { numbered, words } from './language.js'
import type { Language } from './language.js'

/** English. */
export const en: Language = {
  claims: {
    not: words(
      'not never no none nothing nobody neither nor cannot unable without instead isnt arent wasnt werent hasnt havent ' +
        'hadnt dont doesnt didnt cant couldnt wont wouldnt shouldnt failed unfortunately ensure sure',
    ),
    if: words('if unless once when whenever whether until till before after provided should suppose soon'),
    asks: words(
      'am are is was were do does did has had shall should would will can could may might must what which who why how ' +
        'where',
    ),
    joins: words(
      'but so because then therefore since while and_i and_ive and_we and_weve and_your and_youre and_you and_the ' +
        'and_there and_theres and_it and_a',
    ),
    breaks: words(
      'will would can could shall may might must want wants need needs going ill youll theyll who which that you ' +
        'is are was were has its thats be being about',
    ),
  },
  numbers: {
    ...numbered('zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen', 0),
    ...numbered('sixteen seventeen eighteen nineteen', 16),
    ...numbered('twenty thirty forty fifty sixty seventy eighty ninety', 20, 10),
    ...{ oh: 0, o: 0, nought: 0, hundred: 100, thousand: 1000, million: 1e6, billion: 1e9 },
    ...numbered('first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth', 1),
    ...numbered('fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth twentieth', 14),
    thirtieth: 30,
  },
  leading: [],
  and: 'and',
  repeats: { double: 2, triple: 3 },
  months: {
    ...numbered('january february march april may june july august september october november december', 1),
    ...numbered('jan feb mar apr may jun jul aug sep oct nov dec', 1),
    sept: 9,
  },
  weekdays: 'sunday monday tuesday wednesday thursday friday saturday'.split(' '),
  through: ['to', 'through', 'until', 'till'],
  daily: ['daily', 'everyday', 'weekdays', 'weekends'],
  days: { today: 0, tomorrow: 1, yesterday: -1 },
  money:
    'kes ksh kshs sh shilling shillings bob ugx tzs usd dollar dollars euro euros eur pound pounds gbp naira rand'.split(
      ' ',
    ),
  percent: ['percent'],
  parts: ['point', 'half', 'quarter', 'cent', 'cents', 'pence', 'kobo', 'hundreds', 'thousands', 'millions'],
  about: 'about around roughly approximately nearly almost over under than least most'.split(' '),
  articles: ['a', 'an', 'the'],
  is: ['is'],
  lists: ['and', 'or'],
}
