// npm run bench                        operations against their limits, some two minutes
// npm run bench -- membership [n]      how quickly joins and deaths are noticed, n rounds (20)
// npm run bench -- moving [records]     how fast a new node receives its copies, and what comparing them costs (1,000,000)
// npm run bench -- growing [members]    what requests take while three members become so many, and three again (4)
// npm run bench -- profile <folder>    where the time of quorum operations goes; the profiles go to a folder
import { benchGrowing } from './growing.ts'
import { benchMembership } from './membership.ts'
import { benchMoving } from './moving.ts'
import { benchOperations, profileOperations } from './operations.ts'

const [what = 'operations', argument] = process.argv.slice(2)

switch (what) {
  case 'operations':
    await benchOperations()
    break
  case 'profile':
    await profileOperations(argument ?? 'profiles')
    break
  case 'membership':
    await benchMembership(Number(argument ?? 20))
    break
  case 'moving':
    await benchMoving(Number(argument ?? 1_000_000))
    break
  case 'growing':
    await benchGrowing(Number(argument ?? 4))
    break
  default:
    console.error(`there is no bench "${what}"; there are operations, membership, moving, growing and profile`)
    process.exitCode = 2
}
