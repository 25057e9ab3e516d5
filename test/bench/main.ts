// npm run bench                        operations against their limits, some two minutes
// npm run bench -- membership [n]      how quickly joins and deaths are noticed, n rounds (20)
// npm run bench -- profile <folder>    operations, with CPU profiles of all three processes
import { benchMembership } from './membership.ts'
import { benchOperations } from './operations.ts'

const [what = 'operations', argument] = process.argv.slice(2)

switch (what) {
  case 'operations':
    await benchOperations()
    break
  case 'profile':
    await benchOperations(argument ?? 'profiles')
    break
  case 'membership':
    await benchMembership(Number(argument ?? 20))
    break
  default:
    console.error(`there is no bench "${what}"; there are operations, membership and profile`)
    process.exitCode = 2
}
