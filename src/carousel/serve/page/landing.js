// The page that a link from another site leads to; what stands behind # is known to the browser alone.
location.replace(`/${location.hash}`);
