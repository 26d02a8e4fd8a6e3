# covidmt in a container, from the pinned versions.
#
#   docker build --build-arg TORCH=cpu --tag covidmt:cpu .        # for CPUs alone
#   docker build --tag covidmt:cuda .                             # the newest CUDA; the driver is the host's
#   docker build --build-arg TORCH=cu126 --tag covidmt:cu126 .    # for an older driver or GPU (uv's --torch-backend)
#
#   docker run --rm --init --gpus all --shm-size 8g --user "$(id -u):$(id -g)" \
#       --volume /data/cxr:/data/cxr:ro --volume "$PWD:/runs" covidmt:cuda \
#       train experiments/covidmt_resnet50.yaml data.root=/data/cxr
ARG PYTHON=3.12
FROM python:${PYTHON}-slim

ARG TORCH=
WORKDIR /opt/covidmt

# what changes rarely first: the installer
COPY constraints.txt ./
RUN python -m pip install --no-cache-dir --constraint constraints.txt uv

# the packages and the project
COPY pyproject.toml README.md LICENSE ./
COPY callbacks callbacks
COPY covidmt covidmt
COPY datamodules datamodules
COPY experiments experiments
COPY explain explain
COPY lightning_modules lightning_modules
COPY metrics metrics
RUN uv pip install --system --no-cache --compile-bytecode --constraint constraints.txt \
        ${TORCH:+--torch-backend ${TORCH}} . \
    && covidmt --help > /dev/null

# Any user may run it: caches go where everybody can write. There is no git in here, and MLflow need not look for it.
ENV HOME=/tmp MPLCONFIGDIR=/tmp/matplotlib GIT_PYTHON_REFRESH=quiet PYTHONUNBUFFERED=1
WORKDIR /runs
ENTRYPOINT ["covidmt"]
