import assert from 'node:assert/strict'
import { runJob } from './job.ts'
import { regressions } from './regressions.ts'

/** Goal: what was wrong once is looked at with every run of the tests, and why is kept with it. */
describe('seeds that have found a fault', function () {
  this.timeout(60_000)

  for (const { scenario, seed, reason } of regressions) {
    it(`${scenario} ${seed}: ${reason}`, async () => {
      const { violations } = await runJob({ scenario, seed })
      assert.deepEqual(violations, [], `npm run sim -- --scenario ${scenario} --seed ${seed}`)
    })
  }
})
