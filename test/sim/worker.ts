import { type Job, runJob } from './job.ts'

process.on('message', message => {
  void (async () => {
    process.send!(await runJob(message as Job))
  })()
})
