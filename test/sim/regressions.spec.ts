import assert from 'node:assert/strict'
import { runJob } from './job.ts'
import { regressions } from './regressions.ts'

/** Goal: what was wrong once is looked at with every run of the tests, and why is kept with it. */
describe('seeds that have found a fault', function () {
  // Far more than it takes: simulations have what other tests leave of the processors.
  this.timeout(600_000)

  for (const { scenario, seed, reason } of regressions) {
    it(`${scenario} ${seed}: ${reason}`, async () => {
      const { violations } = await runJob({ scenario, seed })
      assert.deepEqual(violations, [], `npm run sim -- --scenario ${scenario} --seed ${seed}`)
    })
  }
})
