import { words } from './language.js'
import type { ClaimLanguage } from './language.js'

/** English. */
export const en: ClaimLanguage = {
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
}
